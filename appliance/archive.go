package appliance

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"

	"tongban/node/exit"
)

// A backup is age(zstd(tar)). age authenticates every 64 KiB and the end, so that a
// changed, missing or added byte is found before what it stands for is used.

// workFactor is the cost of a guess at the passphrase: 2^18 rounds of scrypt, about a
// second and 256 MiB.
const workFactor = 18

// Of a file that somebody else made no more is accepted: 1 GiB for the passphrase (age
// itself would take 4), and a window of 128 MiB, sixteen times ours.
const (
	maxWorkFactor = 20
	maxWindow     = 128 << 20
)

// sealer writes the inside of a backup: a tar into zstd into age.
type sealer struct {
	*tar.Writer
	zstd *zstd.Encoder
	age  io.WriteCloser
}

func newSealer(w io.Writer, passphrase string, factor int) (*sealer, error) {
	recipient, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		return nil, exit.Usagef("the passphrase may not be empty")
	}
	recipient.SetWorkFactor(factor)
	encrypted, err := age.Encrypt(w, recipient)
	if err != nil {
		return nil, fmt.Errorf("encrypt the backup: %w", err)
	}
	compressed, err := zstd.NewWriter(encrypted)
	if err != nil {
		return nil, fmt.Errorf("compress the backup: %w", err)
	}
	return &sealer{Writer: tar.NewWriter(compressed), zstd: compressed, age: encrypted}, nil
}

// Close ends the backup; only then is it whole.
func (s *sealer) Close() error {
	if err := s.Writer.Close(); err != nil {
		return err
	}
	if err := s.zstd.Close(); err != nil {
		return err
	}
	return s.age.Close()
}

// opener reads the inside of a backup.
type opener struct {
	*tar.Reader
	name string
	file *os.File
	zstd *zstd.Decoder
}

// openBackup opens the file. The passphrase is proved here; each byte when it is read.
func openBackup(name, passphrase string) (*opener, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, exit.Errorf(exit.NotFound, "open the backup: %w", err)
	}
	o, err := openStream(f, name, passphrase)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	o.file = f
	return o, nil
}

func openStream(r io.Reader, name, passphrase string) (*opener, error) {
	identity, err := age.NewScryptIdentity(passphrase)
	if err != nil {
		return nil, exit.Usagef("the passphrase may not be empty")
	}
	identity.SetMaxWorkFactor(maxWorkFactor)
	plain, err := age.Decrypt(r, identity)
	var other *age.NoIdentityMatchError
	switch {
	case errors.As(err, &other), errors.Is(err, age.ErrIncorrectIdentity):
		return nil, exit.Errorf(exit.Denied, "the passphrase does not open %s; it is another one, or the file's first bytes were changed", name)
	case err != nil:
		return nil, exit.Errorf(exit.Failed, "%s is no backup of tongban, or its first bytes were changed or cut off", name)
	}
	decoder, err := zstd.NewReader(damageReader{plain, name}, zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return nil, fmt.Errorf("unpack the backup: %w", err)
	}
	return &opener{Reader: tar.NewReader(decoder), name: name, zstd: decoder}, nil
}

// damageReader turns age's errors into one that operators understand.
type damageReader struct {
	io.Reader
	name string
}

// Read implements io.Reader.
func (d damageReader) Read(p []byte) (int, error) {
	n, err := d.Reader.Read(p)
	switch {
	case err == nil || errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
		return n, err
	case errors.Is(err, io.ErrUnexpectedEOF):
		return n, exit.Errorf(exit.Failed, "%s is cut short: its end is missing; take another copy of the backup", d.name)
	}
	return n, exit.Errorf(exit.Failed, "%s is damaged: bytes in it were changed or cut off; take another copy of the backup", d.name)
}

// expect moves to the next entry, which must have the name.
func (o *opener) expect(name string) (*tar.Header, error) {
	h, err := o.Next()
	if errors.Is(err, io.EOF) {
		return nil, exit.Errorf(exit.Failed, "%s lacks %s; it was not made whole", o.name, name)
	}
	if err != nil {
		return nil, o.explain(err)
	}
	if h.Name != name {
		return nil, exit.Errorf(exit.Failed, "%s holds %q where %s belongs; it was not made by tongban", o.name, h.Name, name)
	}
	return h, nil
}

// explain keeps an error that is a sentence already, whatever layer it came through.
func (o *opener) explain(err error) error {
	var known *exit.Error
	if errors.As(err, &known) {
		return known
	}
	return exit.Errorf(exit.Failed, "read %s: %w", o.name, err)
}

// finish reads to the end, so that the last byte is authenticated too.
func (o *opener) finish() error {
	if _, err := o.Next(); !errors.Is(err, io.EOF) {
		if err == nil {
			return exit.Errorf(exit.Failed, "%s holds more than its list of content says; it was not made by tongban", o.name)
		}
		return o.explain(err)
	}
	if _, err := io.Copy(io.Discard, o.zstd); err != nil {
		return o.explain(err)
	}
	return nil
}

// Close closes the file.
func (o *opener) Close() error {
	o.zstd.Close()
	if o.file == nil {
		return nil
	}
	return o.file.Close()
}

func writeEntry(w *tar.Writer, name string, size int64, r io.Reader) error {
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o600, Size: size}); err != nil {
		return fmt.Errorf("write %s into the backup: %w", name, err)
	}
	if _, err := io.Copy(w, r); err != nil {
		return fmt.Errorf("write %s into the backup: %w", name, err)
	}
	return nil
}

func writeJSONEntry(w *tar.Writer, name string, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return writeEntry(w, name, int64(len(text)), bytes.NewReader(text))
}
