package appliance

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"tongban/node/exit"
)

// Where an installation puts things.
const (
	SystemUser   = "tongban"
	SystemDir    = "/var/lib/tongban"          // The node's folder: `tongban init --dir`.
	SystemConfig = SystemDir + "/tongban.toml" // What the unit runs.
	SystemBinary = "/usr/local/bin/tongban"
	environment  = "/etc/tongban/environment"
	unitName     = "tongban.service"
	unitFile     = "/etc/systemd/system/" + unitName
	sysusersFile = "/etc/sysusers.d/tongban.conf"
	tmpfilesFile = "/etc/tmpfiles.d/tongban.conf"
)

//go:embed files/tongban.service
var unit string

//go:embed files/environment
var environmentText string

//go:embed files/sysusers.conf
var sysusersText string

//go:embed files/tmpfiles.conf
var tmpfilesText string

// unitText is the unit; a comment names the program's version when it is not empty.
func unitText(version string) string {
	if version == "" {
		return unit
	}
	return unit + "# Installed by tongban " + version + ".\n"
}

// InstallOptions say where to install.
type InstallOptions struct {
	Root   string    // "/", or the root of an image: then no command is run, and nothing outside it is touched.
	DryRun bool      // Only say what would be done.
	Binary string    // The program to install; empty: the one that runs.
	Say    io.Writer // One line a step.

	euid func() int // os.Geteuid; tests are whoever they need to be.
}

// step is one thing that an installation brings about. have says that it is so already.
type step struct {
	what string
	have func() bool
	do   func() error
}

// Install makes a box ready for a node: the program, a system user, the folders, a hardened
// systemd unit. It may be repeated; what is right already stays. It starts nothing.
func Install(o InstallOptions) error {
	if o.Say == nil {
		o.Say = io.Discard
	}
	if o.euid == nil {
		o.euid = os.Geteuid
	}
	image := o.Root != "" && filepath.Clean(o.Root) != "/"
	if !image {
		o.Root = "/"
		if o.euid() != 0 && !o.DryRun {
			return exit.Errorf(exit.Denied, "an installation needs root; run: sudo tongban install (or --root DIR for an image, --dry-run to see what it would do)")
		}
	} else if info, err := os.Stat(o.Root); err != nil || !info.IsDir() {
		return exit.Usagef("--root %s is no folder", o.Root)
	}
	binary, err := programFile(o.Binary)
	if err != nil {
		return err
	}
	steps := o.steps(binary, image)
	for _, s := range steps {
		switch {
		case s.have():
			fmt.Fprintf(o.Say, "  kept   %s\n", s.what)
		case o.DryRun:
			fmt.Fprintf(o.Say, "  would  %s\n", s.what)
		default:
			if err := s.do(); err != nil {
				return exit.Errorf(exit.Failed, "%s: %w", s.what, err)
			}
			fmt.Fprintf(o.Say, "  done   %s\n", s.what)
		}
	}
	return nil
}

func programFile(name string) (string, error) {
	if name != "" {
		return name, nil
	}
	name, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find the program to install: %w", err)
	}
	return filepath.EvalSymlinks(name)
}

func (o InstallOptions) steps(binary string, image bool) []step {
	list := []step{
		o.copyProgram(binary),
		o.file(sysusersFile, sysusersText, true),
		o.file(tmpfilesFile, tmpfilesText, true),
		o.file(environment, environmentText, false),
		o.file(unitFile, unitText(""), true),
	}
	if image {
		return list // sysusers.d and tmpfiles.d make user and folder at the first boot.
	}
	return append(list, makeUser(), makeFolder(), o.reload())
}

// path is a name below the root.
func (o InstallOptions) path(name string) string { return filepath.Join(o.Root, name) }

// within refuses a path that a symbolic link of an image leads out of the image: an
// absolute one would lead to this machine's own files.
func (o InstallOptions) within(path string) error {
	root, err := filepath.EvalSymlinks(o.Root)
	if err != nil {
		return err
	}
	dir := filepath.Dir(path)
	for {
		real, err := filepath.EvalSymlinks(dir)
		if errors.Is(err, fs.ErrNotExist) && dir != o.Root {
			if _, err := os.Lstat(dir); err == nil {
				return fmt.Errorf("%s is a link to nowhere", dir)
			}
			dir = filepath.Dir(dir)
			continue
		}
		if err != nil {
			return err
		}
		if rel, err := filepath.Rel(root, real); err != nil || !filepath.IsLocal(rel) {
			return fmt.Errorf("%s leads out of %s, to %s", dir, o.Root, real)
		}
		return nil
	}
}

// file writes a text. One that the operator may have changed is left as it is.
func (o InstallOptions) file(name, text string, ours bool) step {
	path := o.path(name)
	return step{"write " + path,
		func() bool {
			have, err := os.ReadFile(path)
			return err == nil && (!ours || string(have) == text)
		},
		func() error {
			if err := o.within(path); err != nil {
				return err
			}
			return putFile(path, strings.NewReader(text), 0o644)
		},
	}
}

func (o InstallOptions) copyProgram(binary string) step {
	path := o.path(SystemBinary)
	return step{"copy " + binary + " to " + path,
		func() bool { return sameFile(binary, path) },
		func() error {
			if err := o.within(path); err != nil {
				return err
			}
			f, err := os.Open(binary)
			if err != nil {
				return err
			}
			defer f.Close()
			return putFile(path, f, 0o755)
		},
	}
}

func sameFile(a, b string) bool {
	left, err := os.Stat(a)
	if err != nil {
		return false
	}
	right, err := os.Stat(b)
	if err != nil || right.Mode().Perm() != 0o755 {
		return false
	}
	if os.SameFile(left, right) {
		return true
	}
	_, x, err := hashFile(a)
	if err != nil {
		return false
	}
	_, y, err := hashFile(b)
	return err == nil && x == y
}

// putFile writes a file whole or not at all; a running program is replaced, not changed.
func putFile(path string, r io.Reader, mode fs.FileMode) (err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	if _, err := io.Copy(f, r); err != nil {
		return err
	}
	if err := errors.Join(f.Chmod(mode), f.Sync()); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

func makeUser() step {
	return step{"make the system user and group " + SystemUser,
		func() bool { _, err := user.Lookup(SystemUser); return err == nil },
		func() error {
			if err := run("systemd-sysusers", sysusersFile); err == nil {
				return nil
			}
			return run("useradd", "--system", "--user-group", "--home-dir", SystemDir, "--no-create-home",
				"--shell", "/usr/sbin/nologin", SystemUser)
		},
	}
}

func makeFolder() step {
	return step{"make " + SystemDir + " for " + SystemUser + " alone",
		func() bool {
			info, err := os.Stat(SystemDir)
			if err != nil || info.Mode().Perm() != 0o700 {
				return false
			}
			uid, _, err := systemIDs()
			owner, ok := info.Sys().(*syscall.Stat_t)
			return err == nil && ok && int(owner.Uid) == uid
		},
		func() error {
			uid, gid, err := systemIDs()
			if err != nil {
				return err
			}
			if err := os.MkdirAll(SystemDir, 0o700); err != nil {
				return err
			}
			return errors.Join(os.Chmod(SystemDir, 0o700), os.Chown(SystemDir, uid, gid))
		},
	}
}

func systemIDs() (uid, gid int, err error) {
	u, err := user.Lookup(SystemUser)
	if err != nil {
		return 0, 0, err
	}
	if uid, err = strconv.Atoi(u.Uid); err != nil {
		return 0, 0, err
	}
	gid, err = strconv.Atoi(u.Gid)
	return uid, gid, err
}

// reload tells a running systemd of the unit; a box that does not run under systemd, such
// as a container, has nobody to tell.
func (o InstallOptions) reload() step {
	return step{"tell systemd of the unit",
		func() bool { _, err := os.Stat("/run/systemd/system"); return err != nil },
		func() error { return run("systemctl", "daemon-reload") },
	}
}

func run(name string, args ...string) error {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}

// NextSteps says what follows an installation.
func NextSteps() string {
	return `Next:
  1. The division's first box:   runuser -u tongban -- tongban init --division CODE --dir ` + SystemDir + ` \
                                   --web ADDRESS:443 --listen ADDRESS:7301 --gossip ADDRESS:7302
     a further box:              runuser -u tongban -- tongban join TOKEN --dir ` + SystemDir + ` … (the same three)
     from a backup:              runuser -u tongban -- tongban restore FILE --dir ` + SystemDir + ` … (the same three)
  2. Start it, now and at boot:  systemctl enable --now tongban
  3. Look after it:              tongban doctor
`
}
