package appliance

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"

	"tongban/node/exit"
)

// TestAFileOfSomebodyElseTakesNoMemory opens files that ask for more than a backup of ours.
func TestAFileOfSomebodyElseTakesNoMemory(t *testing.T) {
	b64 := func(n int) string { return base64.RawStdEncoding.EncodeToString(make([]byte, n)) }
	header := fmt.Sprintf("age-encryption.org/v1\n-> scrypt %s 22\n%s\n--- %s\n", b64(16), b64(32), b64(32))
	start := time.Now()
	_, err := openStream(strings.NewReader(header), "greedy.backup", secret)
	if exit.Code(err) != exit.Failed || time.Since(start) > time.Second {
		t.Errorf("a passphrase of 4 GiB: %v, after %s", err, time.Since(start))
	}

	recipient, err := age.NewScryptRecipient(secret)
	if err != nil {
		t.Fatal(err)
	}
	recipient.SetWorkFactor(quickFactor)
	var out bytes.Buffer
	encrypted, err := age.Encrypt(&out, recipient)
	if err != nil {
		t.Fatal(err)
	}
	compressed, err := zstd.NewWriter(encrypted, zstd.WithWindowSize(zstd.MaxWindowSize))
	if err != nil {
		t.Fatal(err)
	}
	random := rand.NewChaCha8([32]byte{})
	block := make([]byte, 1<<20)
	for range 3 { // So much that the frame names its window.
		_, _ = random.Read(block)
		if _, err := compressed.Write(block); err != nil {
			t.Fatal(err)
		}
	}
	if err := compressed.Close(); err != nil {
		t.Fatal(err)
	}
	if err := encrypted.Close(); err != nil {
		t.Fatal(err)
	}
	o, err := openStream(&out, "wide.backup", secret)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	if _, err := o.expect(entryManifest); err == nil || !strings.Contains(err.Error(), "window") {
		t.Errorf("a window of 512 MiB: %v", err)
	}
}
