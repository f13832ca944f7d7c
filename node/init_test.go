package node_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tongban/node"
	"tongban/node/config"
	"tongban/node/exit"
)

func TestInitRefusesWhatCannotBeADivision(t *testing.T) {
	occupied := t.TempDir()
	must(t, os.WriteFile(filepath.Join(occupied, "x"), nil, 0o600))
	for name, c := range map[string]struct {
		o    node.InitOptions
		want []string
	}{
		"unknown code":       {node.InitOptions{Division: "511692"}, []string{"none of the embedded lists", "did you mean", "511602"}},
		"not digits":         {node.InitOptions{Division: "guangan"}, []string{"digits"}},
		"two levels":         {node.InitOptions{Division: "441900"}, []string{"--level", "city", "county"}},
		"wrong level":        {node.InitOptions{Division: "511602", Level: "city"}, []string{"is no city", "广安区"}},
		"no such level":      {node.InitOptions{Division: "511602", Level: "village"}, []string{"village"}},
		"virtual":            {node.InitOptions{Division: "110100"}, []string{"only groups others"}},
		"township":           {node.InitOptions{Division: "511602001"}, []string{"township", "511602"}},
		"occupied folder":    {node.InitOptions{Division: "511602", Dir: occupied}, []string{"not empty", "--dir"}},
		"bad node name":      {node.InitOptions{Division: "511602", Node: "N/1"}, []string{"node", "a–z"}},
		"bad address":        {node.InitOptions{Division: "511602", Addresses: node.Addresses{Web: "here"}}, []string{"web.listen", "host:port"}},
		"plain http outside": {node.InitOptions{Division: "511602", Addresses: node.Addresses{Web: "192.0.2.1:80", WebTLS: "off"}}, []string{"web.tls", "loopback"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "new")
			if c.o.Dir == "" {
				c.o.Dir = dir
			}
			if c.o.Node == "" {
				c.o.Node = "n1"
			}
			_, err := node.Init(c.o)
			if err == nil {
				t.Fatal("a node was made")
			}
			if code := exit.Code(err); code != exit.Usage && code != exit.Config {
				t.Errorf("exit code %d", code)
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q does not say %q", err, w)
				}
			}
			if _, err := os.Stat(dir); err == nil {
				t.Error("the folder was left behind")
			}
		})
	}
}

func TestInitKeepsNoSecretInTheClear(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	r, err := node.Init(node.InitOptions{Division: "441900", Level: "city", Dir: dir, Node: "n1"})
	must(t, err)
	if r.Division.Name != "东莞市" || r.Config.Division != (config.Division{Code: "441900", Level: "city"}) {
		t.Errorf("made %v, %v", r.Division, r.Config.Division)
	}
	must(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for what, secret := range map[string]string{"the first-boot code": r.FirstBoot, "the recovery kit": r.Recovery} {
			if strings.Contains(string(text), secret) {
				t.Errorf("%s has %s", path, what)
			}
		}
		if strings.Contains(path, "ca-key") && strings.Contains(string(text), "PRIVATE KEY") {
			t.Errorf("%s is in the clear", path)
		}
		return nil
	}))
	if _, _, err := config.Read(r.Config.File, nil); err != nil {
		t.Error(err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
