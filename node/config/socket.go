package config

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// maxSocketPath is the longest path we bind: sockaddr_un holds 108 bytes on Linux, 104
// elsewhere, with a final NUL.
const maxSocketPath = 100

// AdminSocket returns where the node's admin socket is, and whether that is elsewhere
// than asked because a socket's path cannot be so long.
func (c Config) AdminSocket() (path string, moved bool) {
	path = c.Admin
	if path == "" {
		path = filepath.Join(c.Data, "admin.sock")
	}
	if len(path) <= maxSocketPath {
		return path, false
	}
	sum := sha256.Sum256([]byte(path))
	return filepath.Join(RuntimeDir(), hex.EncodeToString(sum[:8])+".sock"), true
}

// RuntimeDir is this user's folder for what lives as long as a running node: sockets with
// a long path, and the list of running nodes.
func RuntimeDir() string {
	return filepath.Join(os.TempDir(), fmt.Sprintf("tongban-%d", os.Getuid()))
}

// MakeRuntimeDir makes RuntimeDir and checks that it is this user's alone: the folder
// above it is everybody's.
func MakeRuntimeDir() (string, error) {
	dir := RuntimeDir()
	if err := os.Mkdir(dir, 0o700); err != nil && !os.IsExist(err) {
		return "", err
	}
	return dir, CheckRuntimeDir()
}

// CheckRuntimeDir returns an error unless RuntimeDir is there and this user's alone. What
// somebody else has put there must not be believed: a socket in it could answer in the
// place of the node, and show a token or code of its own.
func CheckRuntimeDir() error {
	dir := RuntimeDir()
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !info.IsDir() || info.Mode().Perm() != 0o700 || !ok || int(owner.Uid) != os.Getuid() {
		return fmt.Errorf("%s is not a folder of this user alone; remove it", dir)
	}
	return nil
}

// Announce lists the configuration among this user's running nodes; forget takes it off.
func (c Config) Announce() (forget func(), err error) {
	dir, err := MakeRuntimeDir()
	if err != nil {
		return nil, fmt.Errorf("list the running node: %w", err)
	}
	sum := sha256.Sum256([]byte(c.File))
	link := filepath.Join(dir, hex.EncodeToString(sum[:8])+".toml")
	if err := os.Remove(link); err != nil && !os.IsNotExist(err) {
		return nil, fmt.Errorf("list the running node: %w", err)
	}
	if err := os.Symlink(c.File, link); err != nil {
		return nil, fmt.Errorf("list the running node: %w", err)
	}
	return func() { _ = os.Remove(link) }, nil
}

// Running returns the configuration files of this user's nodes that were announced and
// not taken off; some may have been killed since.
func Running() []string {
	if CheckRuntimeDir() != nil {
		return nil
	}
	links, _ := filepath.Glob(filepath.Join(RuntimeDir(), "*.toml"))
	var files []string
	for _, l := range links {
		if file, err := os.Readlink(l); err == nil {
			files = append(files, file)
		}
	}
	return files
}
