package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tongban/node/config"
	"tongban/node/exit"
)

const good = `
node = "n1"
[division]
code = "511602"
level = "county"
`

func write(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), config.FileName)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestWrongConfigurationsAreRefusedByName(t *testing.T) {
	for name, c := range map[string]struct {
		text, env string
		want      []string
	}{
		"unknown key":            {text: good + "[web]\nlitsen = \"x\"", want: []string{"web.litsen", "did you mean web.listen"}},
		"unknown section":        {text: good + "[wab]\nlisten = \"x\"", want: []string{"wab.listen", "web.listen"}},
		"wrong type":             {text: good + "[web]\nlisten = 8080", want: []string{"web.listen", "text in quotes"}},
		"no port":                {text: good + "[web]\nlisten = \"localhost\"", want: []string{"web.listen", "host:port"}},
		"port out of range":      {text: good + "[peer]\nlisten = \"127.0.0.1:70000\"", want: []string{"peer.listen", "65535"}},
		"missing key":            {text: "[division]\ncode = \"511602\"\nlevel = \"county\"", want: []string{"node", "missing"}},
		"bad node name":          {text: strings.Replace(good, "n1", "N 1", 1), want: []string{"node", "a–z"}},
		"short code":             {text: strings.Replace(good, "511602", "5116", 1), want: []string{"division.code", "6 digits"}},
		"no such level":          {text: strings.Replace(good, "county", "town", 1), want: []string{"division.level", "county"}},
		"plain http on the wire": {text: good + "[web]\ntls = \"off\"\nlisten = \"192.0.2.1:80\"", want: []string{"web.tls", "loopback"}},
		"files without files":    {text: good + "[web]\ntls = \"files\"", want: []string{"web.certificate"}},
		"nobody can dial it":     {text: good + "[peer]\nlisten = \"0.0.0.0:7301\"", want: []string{"peer.advertise"}},
		"url with a path":        {text: good + "[web]\nurl = \"https://a/b\"", want: []string{"web.url"}},
		"not TOML":               {text: "node = \n", want: []string{"line 1"}},
		"doubled key":            {text: good + "[web]\nlisten=\"a:1\"\nlisten=\"a:2\"", want: []string{"listen"}},
		"env names no key":       {text: good, env: "TONGBAN_WEB_LITSEN=x", want: []string{"TONGBAN_WEB_LITSEN", "TONGBAN_WEB_LISTEN"}},
		"env out of bound":       {text: good, env: "TONGBAN_LOG_LEVEL=loud", want: []string{"TONGBAN_LOG_LEVEL", "debug"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := config.Read(write(t, c.text), []string{c.env})
			if err == nil {
				t.Fatal("the configuration was accepted")
			}
			if exit.Code(err) != exit.Config {
				t.Errorf("exit code %d, want %d", exit.Code(err), exit.Config)
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q does not say %q", err, w)
				}
			}
		})
	}
}

func TestAMissingFileSaysHowToMakeOne(t *testing.T) {
	_, _, err := config.Read(filepath.Join(t.TempDir(), "x.toml"), nil)
	if err == nil || !strings.Contains(err.Error(), "tongban init") {
		t.Fatalf("got %v", err)
	}
}

func TestLaterLayersWinAndSayWhereTheyCameFrom(t *testing.T) {
	file := write(t, good+"[log]\nlevel = \"warn\"\nformat = \"json\"")
	c, settings, err := config.Read(file, []string{"TONGBAN_LOG_LEVEL=debug", "TONGBAN_DIR=/x", "PATH=/bin"})
	if err != nil {
		t.Fatal(err)
	}
	if c.Log.Level != "debug" || c.Log.Format != "json" || c.Peer.Listen != "127.0.0.1:7301" {
		t.Errorf("got %+v", c)
	}
	if c.Data != filepath.Join(filepath.Dir(file), "data") {
		t.Errorf("data is %s", c.Data)
	}
	origins := map[string]string{}
	for _, s := range settings {
		origins[s.Key] = s.Origin
	}
	for key, want := range map[string]string{"log.level": "TONGBAN_LOG_LEVEL", "log.format": file, "peer.listen": "default"} {
		if origins[key] != want {
			t.Errorf("%s comes from %q, want %q", key, origins[key], want)
		}
	}
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	file := write(t, good)
	c, _, err := config.Read(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	c.Web.URL, c.Web.Listen, c.Peer.Advertise = `http://办事.example:80`, "[::1]:80", "box-1.example:7301"
	if err := config.Write(c); err != nil {
		t.Fatal(err)
	}
	got, _, err := config.Read(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got != c {
		t.Errorf("wrote %+v\n read %+v", c, got)
	}
	c.Web.URL = "ftp://x"
	if err := config.Write(c); err == nil {
		t.Error("an address that cannot be read was written")
	}
}

func TestKeysAreFewAndBounded(t *testing.T) {
	keys := config.Keys()
	if len(keys) > 25 {
		t.Errorf("%d keys; the file has at most 25", len(keys))
	}
	for _, k := range keys {
		if k.Bound == "" || k.Doc == "" {
			t.Errorf("%s lacks a bound or description", k.Name)
		}
	}
}

func TestALongSocketPathMoves(t *testing.T) {
	c := config.Config{Data: "/var/lib/tongban/data"}
	if path, moved := c.AdminSocket(); moved || path != "/var/lib/tongban/data/admin.sock" {
		t.Errorf("got %s, %v", path, moved)
	}
	c.Data = "/" + strings.Repeat("d", 100)
	path, moved := c.AdminSocket()
	if !moved || len(path) > 100 {
		t.Errorf("got %s, %v", path, moved)
	}
}

func FuzzRead(f *testing.F) {
	f.Add(good, "TONGBAN_LOG_LEVEL=debug")
	f.Add("a = [", "x")
	f.Fuzz(func(t *testing.T, text, env string) {
		file := filepath.Join(t.TempDir(), "f.toml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, _, err := config.Read(file, []string{env})
		if err == nil && (c.Node == "" || c.Data == "") {
			t.Errorf("accepted without a node or folder: %+v", c)
		}
	})
}
