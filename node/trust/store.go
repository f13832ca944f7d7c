package trust

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"filippo.io/age"

	"tongban/node/exit"
	"tongban/replication"
)

// Files below the data folder.
const (
	fileIdentity    = "node.key" // age identity.
	fileKey         = "tls/node-key.pem"
	fileCertificate = "tls/node.pem"
	fileAuthority   = "tls/ca.pem"       // Certificate of the division's authority.
	fileSealed      = "tls/ca-key.age"   // Key of the authority, sealed; until the database has it.
	fileRecovery    = "tls/recovery.pub" // Recipient of the recovery kit.
	fileGossip      = "tls/gossip.key"   // Hex, 32 bytes.
)

// Keys are what a node keeps in its data folder. The TLS key and certificate are those that
// the box came with; TLS returns the present ones. Use and TLS may be called concurrently.
type Keys struct {
	Division    Division
	Node        replication.NodeID
	Identity    *age.X25519Identity // Node key.
	Key         *ecdsa.PrivateKey   // TLS key.
	Certificate *x509.Certificate   // Of the TLS key.
	Authority   *x509.Certificate   // The division's.
	Sealed      []byte              // The authority's key, sealed to the nodes and the recovery kit.
	Recovery    string              // Recipient of the recovery kit.
	Gossip      []byte              // 32 bytes.

	current atomic.Pointer[tls.Certificate] // See Use; nil: Key and Certificate.
}

// GossipKeySize is the length of the key that encrypts gossip: AES-256.
const GossipKeySize = 32

// NewGossipKey makes the key that encrypts gossip.
func NewGossipKey() ([]byte, error) {
	key := make([]byte, GossipKeySize)
	_, err := rand.Read(key)
	return key, err
}

// OpenAuthority unseals the authority's key with the node key.
func (k *Keys) OpenAuthority(sealed []byte) (*Authority, error) {
	key, err := Unseal(sealed, k.Identity)
	if err != nil {
		return nil, fmt.Errorf("open the key of the division's authority: %w", err)
	}
	return LoadAuthority(k.Division, k.Authority, key)
}

// Save writes all keys below the data folder: secrets 0600, folders 0700, each file
// synced before it takes its name.
func (k *Keys) Save(data string) error {
	if err := os.MkdirAll(filepath.Join(data, "tls"), 0o700); err != nil {
		return fmt.Errorf("make the folder of keys: %w", err)
	}
	key, err := marshalKey(k.Key)
	if err != nil {
		return fmt.Errorf("write the TLS key: %w", err)
	}
	files := []struct {
		name string
		data []byte
		mode fs.FileMode
	}{
		{fileIdentity, []byte(k.Identity.String() + "\n"), 0o600},
		{fileKey, key, 0o600},
		{fileCertificate, encodeCertificate(k.Certificate), 0o644},
		{fileAuthority, encodeCertificate(k.Authority), 0o644},
		{fileSealed, k.Sealed, 0o600},
		{fileRecovery, []byte(k.Recovery + "\n"), 0o644},
		{fileGossip, []byte(hex.EncodeToString(k.Gossip) + "\n"), 0o600},
	}
	for _, f := range files {
		if err := WriteFile(filepath.Join(data, f.name), f.data, f.mode); err != nil {
			return err
		}
	}
	return nil
}

// WriteFile writes a file so that its name always holds either the old content or all of
// the new, also after a power cut.
func WriteFile(name string, data []byte, mode fs.FileMode) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), ".new-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
			err = fmt.Errorf("write %s: %w", name, err)
		}
	}()
	if err := f.Chmod(mode); err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), name); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// Load reads the keys of the node from its data folder and checks that they belong
// together and to the division and node. Its errors have exit code 78.
func Load(data string, d Division, n replication.NodeID) (*Keys, error) {
	k := &Keys{Division: d, Node: n}
	steps := []struct {
		name   string
		secret bool
		read   func(data []byte) error
	}{
		{fileIdentity, true, func(b []byte) (err error) { k.Identity, err = parseIdentity(b); return err }},
		{fileKey, true, func(b []byte) (err error) { k.Key, err = parseKey(b); return err }},
		{fileCertificate, false, func(b []byte) (err error) { k.Certificate, err = parseCertificate(b); return err }},
		{fileAuthority, false, func(b []byte) (err error) { k.Authority, err = parseCertificate(b); return err }},
		{fileSealed, true, func(b []byte) error { k.Sealed = b; return nil }},
		{fileRecovery, false, func(b []byte) error { k.Recovery = strings.TrimSpace(string(b)); return nil }},
		{fileGossip, true, func(b []byte) (err error) { k.Gossip, err = parseGossip(b); return err }},
	}
	for _, s := range steps {
		name := filepath.Join(data, s.name)
		content, err := readKeyFile(name, s.secret)
		if err != nil {
			return nil, err
		}
		if err := s.read(content); err != nil {
			return nil, exit.Configf("%s cannot be read: %w; restore it from a backup, or join this box anew", name, err)
		}
	}
	if !k.Key.PublicKey.Equal(k.Certificate.PublicKey) {
		return nil, exit.Configf("the TLS key in %s does not belong to its certificate; join this box anew", data)
	}
	named, err := d.nodeOf(k.Certificate)
	if err == nil && named != n {
		err = fmt.Errorf("it is for node %s", named)
	}
	if err != nil {
		return nil, exit.Configf("the certificate in %s is for another node: %w; correct node and division in the configuration", data, err)
	}
	return k, nil
}

// Check says whether the keys belong together and to the node, and the present certificate
// is valid at the time.
func (k *Keys) Check(now time.Time) error {
	current := k.TLS()
	return k.check(current.Leaf, current.PrivateKey, now)
}

func (k *Keys) check(leaf *x509.Certificate, private crypto.PrivateKey, now time.Time) error {
	key, ok := private.(*ecdsa.PrivateKey)
	if !ok || !key.PublicKey.Equal(leaf.PublicKey) {
		return errors.New("the certificate is for another key")
	}
	n, err := k.peer([]*x509.Certificate{leaf}, x509.ExtKeyUsageServerAuth, nil, now)
	if err != nil {
		return err
	}
	if n != k.Node {
		return fmt.Errorf("the certificate is for node %s, not %s", n, k.Node)
	}
	return nil
}

// SavePrivate writes the two private keys alone: those of a box that is joining.
func (k *Keys) SavePrivate(dir string) error {
	if err := os.MkdirAll(filepath.Join(dir, "tls"), 0o700); err != nil {
		return fmt.Errorf("make the folder of keys: %w", err)
	}
	key, err := marshalKey(k.Key)
	if err != nil {
		return fmt.Errorf("write the TLS key: %w", err)
	}
	if err := WriteFile(filepath.Join(dir, fileKey), key, 0o600); err != nil {
		return err
	}
	return WriteFile(filepath.Join(dir, fileIdentity), []byte(k.Identity.String()+"\n"), 0o600)
}

// LoadPrivate reads what SavePrivate wrote; fs.ErrNotExist when that was not finished.
func LoadPrivate(dir string) (*Keys, error) {
	id, err := os.ReadFile(filepath.Join(dir, fileIdentity))
	if err != nil {
		return nil, err
	}
	key, err := os.ReadFile(filepath.Join(dir, fileKey))
	if err != nil {
		return nil, err
	}
	k := &Keys{}
	if k.Identity, err = parseIdentity(id); err != nil {
		return nil, fmt.Errorf("read the node key in %s: %w", dir, err)
	}
	if k.Key, err = parseKey(key); err != nil {
		return nil, fmt.Errorf("read the TLS key in %s: %w", dir, err)
	}
	return k, nil
}

func readKeyFile(name string, secret bool) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, exit.Configf("a key of the node is missing: %w; restore the data folder from a backup, or join this box anew", err)
	}
	if secret && info.Mode().Perm()&0o077 != 0 {
		return nil, exit.Configf("%s is readable by other users (mode %04o); run: chmod 600 %s", name, info.Mode().Perm(), name)
	}
	content, err := os.ReadFile(name)
	if err != nil {
		return nil, exit.Configf("read a key of the node: %w; run as the user that owns the data folder", err)
	}
	return content, nil
}

func parseGossip(data []byte) ([]byte, error) {
	key, err := hex.DecodeString(strings.TrimSpace(string(data)))
	if err == nil && len(key) != GossipKeySize {
		err = errors.New("it is not 32 bytes in hex")
	}
	return key, err
}
