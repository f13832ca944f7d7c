package appliance

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"tongban/node"
	"tongban/node/client"
	"tongban/node/config"
	"tongban/node/exit"
)

// BackupOptions say what is backed up where.
type BackupOptions struct {
	Config     config.Config // Of the node, which must run.
	File       string
	Passphrase string
	Force      bool // Replace File if it is there.
	// Progress is called as bytes of the databases are written; nil: nobody is told.
	Progress func(done, total int64)

	workFactor int // Tests only: scrypt takes a second.
}

// BackupResult is what a backup became.
type BackupResult struct {
	File     string   `json:"file"`
	Bytes    int64    `json:"bytes"`
	SHA256   string   `json:"sha256"` // Of the file, hex.
	Rows     int64    `json:"rows"`
	Manifest Manifest `json:"manifest"`
	// Unnoted says why the division does not know of the backup; empty: it does.
	Unnoted string `json:"unnoted,omitempty"`
}

// Backup asks the running node for the division and writes it, encrypted, to a file that
// appears only when it is whole and durable.
func Backup(ctx context.Context, o BackupOptions) (out BackupResult, err error) {
	if out.File, err = filepath.Abs(o.File); err != nil {
		return out, exit.Usagef("find %s: %w", o.File, err)
	}
	if o.Passphrase == "" {
		return out, exit.Usagef("the passphrase may not be empty")
	}
	if o.workFactor == 0 {
		o.workFactor = workFactor
	}
	if _, err := os.Lstat(out.File); err == nil && !o.Force {
		return out, exit.Errorf(exit.Failed, "%s is there already; choose another name, or replace it with --force", o.File)
	}
	partial := out.File + ".partial"
	f, err := createAnew(partial)
	if err != nil {
		return out, exit.Errorf(exit.Failed, "write the backup: %w", err)
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(partial)
		}
	}()
	body, err := askBackup(ctx, o.Config)
	if err != nil {
		return out, err
	}
	defer body.Close()
	sum := &counter{hash: sha256.New()}
	if out.Manifest, err = seal(body, io.MultiWriter(f, sum), o); err != nil {
		return out, err
	}
	out.Bytes, out.SHA256, out.Rows = sum.n, hex.EncodeToString(sum.hash.Sum(nil)), out.Manifest.Rows()
	if err := place(f, partial, out.File, o.Force); err != nil {
		return out, exit.Errorf(exit.Failed, "write the backup: %w", err)
	}
	if !out.Manifest.Databases[0].Current {
		out.Unnoted = "the division's database has no leader that could write it down"
		return out, nil
	}
	c := client.New(o.Config)
	defer c.Close()
	if err := c.Post(ctx, "/node/backup", node.BackupNote{At: out.Manifest.At, Databases: len(out.Manifest.Databases),
		Bytes: out.Bytes, SHA256: out.SHA256, Current: len(out.Manifest.Behind()) == 0}, nil); err != nil {
		out.Unnoted = err.Error()
	}
	return out, nil
}

// createAnew creates a file for this user alone, in place of what a backup that was killed
// may have left. It follows no link.
func createAnew(name string) (*os.File, error) {
	if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	return os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
}

// place gives a finished file its name.
func place(f *os.File, partial, name string, force bool) error {
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	if !force { // A name that somebody took meanwhile is not replaced: link fails on it.
		if err := os.Link(partial, name); err == nil {
			if err := os.Remove(partial); err != nil {
				return err
			}
			return syncFolder(filepath.Dir(name))
		} else if errors.Is(err, os.ErrExist) {
			return err
		} // A file system without links, such as a USB stick's.
	}
	if err := os.Rename(partial, name); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(name))
}

type counter struct {
	hash hash.Hash
	n    int64
}

func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return c.hash.Write(p)
}

// askBackup opens the stream. The node copies everything before it answers, so nearly all
// that can fail is said in its answer. There is no time limit but ctx.
func askBackup(ctx context.Context, cfg config.Config) (io.ReadCloser, error) {
	socket, _ := cfg.AdminSocket()
	dialer := &net.Dialer{}
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return dialer.DialContext(ctx, "unix", socket)
	}}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://node/node/backup", nil)
	if err != nil {
		return nil, err
	}
	response, err := transport.RoundTrip(r)
	switch {
	case errors.Is(err, os.ErrPermission):
		return nil, exit.Errorf(exit.Denied, "this user may not open %s; run the command as the user of the node (runuser -u tongban -- tongban backup …)", socket)
	case err != nil && ctx.Err() == nil:
		return nil, exit.Errorf(exit.Temporary, "the node does not run (nobody answers at %s), and a backup is made by a running one; start it: systemctl start tongban", socket)
	case err != nil:
		return nil, err
	case response.StatusCode == http.StatusOK:
		return response.Body, nil
	}
	defer response.Body.Close()
	var p client.Problem
	if json.NewDecoder(io.LimitReader(response.Body, maxNote)).Decode(&p) != nil || p.Detail == "" {
		p.Detail = "the node answers " + response.Status + "; is it of the same version as this command?"
	}
	code := exit.Failed
	if response.StatusCode == http.StatusServiceUnavailable || response.StatusCode == http.StatusConflict {
		code = exit.Temporary
	}
	return nil, exit.Errorf(code, "%s", p.Detail)
}

// seal encrypts the node's stream, and checks on the way that it is what its manifest says.
func seal(r io.Reader, w io.Writer, o BackupOptions) (Manifest, error) {
	in := tar.NewReader(r)
	out, err := newSealer(w, o.Passphrase, o.workFactor)
	if err != nil {
		return Manifest{}, err
	}
	text, err := nextMeta(in, entryManifest)
	if err != nil {
		return Manifest{}, err
	}
	m, err := readManifest(bytes.NewReader(text))
	if err != nil {
		return m, err
	}
	foundation, err := nextMeta(in, entryFoundation)
	if err != nil {
		return m, err
	}
	if err := writeEntry(out.Writer, entryManifest, int64(len(text)), bytes.NewReader(text)); err != nil {
		return m, err
	}
	if err := writeEntry(out.Writer, entryFoundation, int64(len(foundation)), bytes.NewReader(foundation)); err != nil {
		return m, err
	}
	progress := newProgress(context.Background(), o.Progress, m.Size()) // The node's stream ends with its context.
	for _, d := range m.Databases {
		h, err := in.Next()
		if err != nil || h.Name != d.entry() || h.Size != d.Size {
			return m, cut(err)
		}
		sum := sha256.New()
		if err := writeEntry(out.Writer, d.entry(), d.Size, io.TeeReader(progress.of(in), sum)); err != nil {
			return m, cut(err)
		}
		if hex.EncodeToString(sum.Sum(nil)) != d.SHA256 {
			return m, cut(nil)
		}
	}
	return m, out.Close()
}

func nextMeta(in *tar.Reader, name string) ([]byte, error) {
	h, err := in.Next()
	if err != nil || h.Name != name {
		return nil, cut(err)
	}
	text, err := io.ReadAll(io.LimitReader(in, maxMeta))
	if err != nil {
		return nil, cut(err)
	}
	return text, nil
}

// cut says that the node's stream is not whole.
func cut(err error) error {
	if err == nil {
		err = errors.New("something else came than was announced")
	}
	return exit.Errorf(exit.Temporary, "the node stopped in the middle of the backup (%w); see its log and try again", err)
}

// progress counts what is read of the databases, and ends the reading with its context.
type progress struct {
	ended       func() error
	tell        func(done, total int64)
	done, total int64
}

func newProgress(ctx context.Context, tell func(done, total int64), total int64) *progress {
	if tell == nil {
		tell = func(int64, int64) {}
	}
	tell(0, total)
	return &progress{ended: ctx.Err, tell: tell, total: total}
}

// of counts what is read through it.
func (p *progress) of(r io.Reader) io.Reader { return &counted{r, p} }

type counted struct {
	io.Reader
	p *progress
}

// Read implements io.Reader.
func (c *counted) Read(b []byte) (int, error) {
	if err := c.p.ended(); err != nil {
		return 0, exit.Errorf(exit.Failed, "interrupted: %w", err)
	}
	n, err := c.Reader.Read(b)
	c.p.done += int64(n)
	c.p.tell(c.p.done, c.p.total)
	return n, err
}

// Contents is what a look into a backup shows.
type Contents struct {
	File     string   `json:"file"`
	Bytes    int64    `json:"bytes"`
	Age      string   `json:"age"`
	Rows     int64    `json:"rows"`
	Manifest Manifest `json:"manifest"`
	Faults   []string `json:"faults"` // Of a verification; empty: none.
}

// VerifyBackup decrypts all of a backup and checks every database in it, in a folder that
// it removes. Its error says that the file cannot be used at all.
func VerifyBackup(ctx context.Context, name, passphrase string, now time.Time, tell func(done, total int64)) (c Contents, err error) {
	c = Contents{File: name, Faults: []string{}}
	o, err := openBackup(name, passphrase)
	if err != nil {
		return c, err
	}
	defer o.Close()
	info, err := o.file.Stat()
	if err != nil {
		return c, err
	}
	m, _, err := o.head()
	if err != nil {
		return c, err
	}
	c.Bytes, c.Manifest, c.Age, c.Rows = info.Size(), m, Age(m.At, now), m.Rows()
	dir, err := os.MkdirTemp("", "tongban-verify-") // 0700.
	if err != nil {
		return c, fmt.Errorf("unpack the backup: %w", err)
	}
	defer os.RemoveAll(dir)
	if err := needRoom(dir, uint64(m.Size())); err != nil {
		return c, err
	}
	if err := o.unpack(dir, m, newProgress(ctx, tell, m.Size())); err != nil {
		return c, err
	}
	c.Faults, err = checkUnpacked(ctx, dir, m)
	return c, err
}
