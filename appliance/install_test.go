package appliance

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"tongban/node/exit"
)

// program stands for the program: an installation copies what it is given.
func program(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "tongban")
	if err := os.WriteFile(name, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return name
}

func tree(t *testing.T, root string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		text, err := os.ReadFile(path)
		rel, _ := filepath.Rel(root, path)
		out["/"+rel] = info.Mode().String() + " " + info.ModTime().String() + " " + string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestAnImageGetsAllFilesAndARepetitionChangesNothing(t *testing.T) {
	t.Parallel()
	o := InstallOptions{Root: t.TempDir(), Binary: program(t), DryRun: true}
	var say bytes.Buffer
	o.Say = &say
	if err := Install(o); err != nil {
		t.Fatal(err)
	}
	if got := tree(t, o.Root); len(got) > 0 || strings.Count(say.String(), "would ") != 5 {
		t.Fatalf("a dry run left %v and said\n%s", got, say.String())
	}
	o.DryRun = false
	if err := Install(o); err != nil {
		t.Fatal(err)
	}
	first := tree(t, o.Root)
	for _, name := range []string{SystemBinary, environment, unitFile, sysusersFile, tmpfilesFile} {
		if first[name] == "" {
			t.Errorf("%s is missing", name)
		}
	}
	if len(first) != 5 || !strings.HasPrefix(first[SystemBinary], "-rwxr-xr-x") || !strings.HasPrefix(first[unitFile], "-rw-r--r--") {
		t.Errorf("the image holds %d files; the program's mode is %.10s", len(first), first[SystemBinary])
	}
	say.Reset()
	if err := Install(o); err != nil {
		t.Fatal(err)
	}
	if strings.Count(say.String(), "kept ") != 5 {
		t.Errorf("a repetition said\n%s", say.String())
	}
	for name, text := range tree(t, o.Root) {
		if first[name] != text {
			t.Errorf("a repetition changed %s", name)
		}
	}
}

func TestAnInstallationRepairsItsFilesAndKeepsTheOperators(t *testing.T) {
	t.Parallel()
	o := InstallOptions{Root: t.TempDir(), Binary: program(t)}
	if err := Install(o); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{environment, unitFile} {
		if err := os.WriteFile(o.path(name), []byte("# mine\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := Install(o); err != nil {
		t.Fatal(err)
	}
	if got := tree(t, o.Root); !strings.HasSuffix(got[environment], "# mine\n") || !strings.HasSuffix(got[unitFile], unitText("")) {
		t.Errorf("environment: %s\nunit: %s", got[environment], got[unitFile])
	}
}

func TestAnImagesLinksLeadNowhereElse(t *testing.T) {
	t.Parallel()
	outside := t.TempDir()
	o := InstallOptions{Root: t.TempDir(), Binary: program(t)}
	if err := os.Symlink(outside, filepath.Join(o.Root, "etc")); err != nil {
		t.Fatal(err)
	}
	says(t, Install(o), exit.Failed, "leads out of")
	if left := tree(t, outside); len(left) > 0 {
		t.Errorf("written outside: %v", left)
	}
	if err := os.Remove(filepath.Join(o.Root, "etc")); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(o.Root, "usr", "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("usr/etc", filepath.Join(o.Root, "etc")); err != nil {
		t.Fatal(err)
	}
	if err := Install(o); err != nil {
		t.Errorf("a link within the image: %v", err)
	}
}

func TestAnInstallationOfThisMachineNeedsRoot(t *testing.T) {
	t.Parallel()
	clerk := func() int { return 1000 }
	says(t, Install(InstallOptions{Binary: program(t), euid: clerk}), exit.Denied, "needs root", "sudo tongban install", "--root")
	says(t, Install(InstallOptions{Root: filepath.Join(t.TempDir(), "none"), Binary: program(t)}), exit.Usage, "no folder")
}

// unitTool finds systemd-analyze, or skips.
func unitTool(t *testing.T) string {
	t.Helper()
	tool, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("not run: systemd-analyze is not installed; sudo apt-get install systemd")
	}
	return tool
}

func TestSystemdTakesTheUnit(t *testing.T) {
	t.Parallel()
	tool := unitTool(t)
	unit := filepath.Join(t.TempDir(), unitName)
	text := strings.Replace(unitText(""), SystemBinary, program(t), 1) // It looks whether the program is there.
	if err := os.WriteFile(unit, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), tool, "verify", "--man=no", unit).CombinedOutput(); err != nil || strings.Contains(string(out), unitName) {
		t.Errorf("%v: %s", err, out)
	}
	out, err := exec.CommandContext(t.Context(), tool, "security", "--offline=true", unit).CombinedOutput()
	if strings.Contains(string(out), "offline") && err != nil {
		t.Skip("not run: this systemd-analyze cannot look at a file (systemd 250 can); sudo apt-get install systemd")
	}
	m := regexp.MustCompile(`exposure level for \S+: ([0-9.]+)`).FindStringSubmatch(string(out))
	if m == nil {
		t.Fatalf("%v: %s", err, out)
	}
	if level, err := strconv.ParseFloat(m[1], 64); err != nil || level >= 2 {
		t.Errorf("the exposure level is %s, want less than 2", m[1])
	}
}

func TestTheUnitRunsWhatIsInstalled(t *testing.T) {
	t.Parallel()
	for _, line := range []string{"Type=notify", "WatchdogSec=30", "User=" + SystemUser, "ReadWritePaths=" + SystemDir, "NoNewPrivileges=yes",
		"ExecStart=" + SystemBinary + " run --config " + SystemConfig, "ConditionPathExists=" + SystemConfig, "EnvironmentFile=-" + environment,
		"RestartPreventExitStatus=" + strconv.Itoa(exit.Config), "StartLimitBurst=5"} {
		if !strings.Contains(unitText(""), "\n"+line+"\n") {
			t.Errorf("the unit has no line %q", line)
		}
	}
	for text, want := range map[string]string{sysusersText: "\nu " + SystemUser + " ", tmpfilesText: "\nd " + SystemDir + " 0700 " + SystemUser + " " + SystemUser + " "} {
		if !strings.Contains(text, want) {
			t.Errorf("%q lacks %q", text, want)
		}
	}
}
