package trust_test

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"tongban/division"
	"tongban/node/trust"
)

func mustRef(t *testing.T, d trust.Division) division.Ref {
	t.Helper()
	r, err := d.Ref()
	must(t, err)
	return r
}

func mustLoad(t *testing.T, a *trust.Authority) *trust.Authority {
	t.Helper()
	text, err := a.KeyPEM()
	must(t, err)
	again, err := trust.LoadAuthority(trust.Division{Code: a.Division.Code, Level: a.Division.Level}, a.Certificate, text)
	must(t, err)
	return again
}

func TestALetterIsReadByItsReceiverAndSignedByItsSender(t *testing.T) {
	f := grow(t)
	sender, receiver := box(t, f.county.Authority, "n1", time.Now()), box(t, f.zhejiang.Authority, "n2", time.Now())
	other := box(t, f.sibling.Authority, "n1", time.Now())
	to, from := mustRef(t, f.zhejiang.Division), mustRef(t, f.county.Division)
	key := func(k *trust.Keys) string { return k.Identity.Recipient().String() }
	sealed, err := sender.SealLetter(f.county.chain, to, []string{key(other), key(receiver)}, []byte("geheim"))
	must(t, err)
	if bytes.Contains(sealed, []byte("geheim")) || bytes.Contains(sealed, []byte("511602")) {
		t.Error("who carries the letter reads it")
	}
	got, plain, err := receiver.OpenLetter(sealed, to, f.nation.Certificate, nil, time.Now())
	if err != nil || got != from || string(plain) != "geheim" {
		t.Fatalf("opened %q from %s, %v", plain, got, err)
	}
	if _, _, err := sender.OpenLetter(sealed, to, f.nation.Certificate, nil, time.Now()); !errors.Is(err, trust.ErrNotRecipient) {
		t.Errorf("a box that is no recipient says %v", err)
	}
	for i := 0; i < len(sealed); i += 1 + i/64 {
		bad := bytes.Clone(sealed)
		bad[i] ^= 1
		if _, plain, err := receiver.OpenLetter(bad, to, f.nation.Certificate, nil, time.Now()); err == nil && string(plain) != "geheim" {
			t.Fatalf("altered at byte %d it opens as %q", i, plain)
		}
	}
	if _, _, err := receiver.OpenLetter(sealed, mustRef(t, f.sibling.Division), f.nation.Certificate, nil, time.Now()); !errors.Is(err, trust.ErrForged) {
		t.Errorf("a letter to another division is taken: %v", err)
	}
	if _, _, err := receiver.OpenLetter(sealed, to, grow(t).nation.Certificate, nil, time.Now()); !errors.Is(err, trust.ErrStranger) {
		t.Errorf("a letter of another tree is taken: %v", err)
	}
	if _, _, err := receiver.OpenLetter(sealed, to, f.nation.Certificate, nil, time.Now().Add(trust.CertificateValid)); !errors.Is(err, trust.ErrStranger) {
		t.Errorf("a letter of a certificate that is over is taken: %v", err)
	}
	if _, err := other.SealLetter(f.county.chain, to, []string{key(receiver)}, nil); err == nil {
		t.Error("a box signs for a division that its certificate does not name")
	}
	if _, err := sender.SealLetter(f.county.chain, to, []string{"age1nonsense"}, nil); err == nil {
		t.Error("a letter is sealed to nobody")
	}
}

// forgeLetter opens a letter at its receiver, who is a thief, changes it and seals it again.
func forgeLetter(t *testing.T, thief *trust.Keys, sealed []byte, to *trust.Keys, change func(head map[string]any, body []byte) []byte) []byte {
	t.Helper()
	opened, err := trust.Unseal(sealed, thief.Identity)
	must(t, err)
	n := int(opened[2])<<8 | int(opened[3])
	var head map[string]any
	must(t, json.Unmarshal(opened[4:4+n], &head))
	body := change(head, opened[4+n:])
	text, err := json.Marshal(head)
	must(t, err)
	forged := append([]byte{0, 0, byte(len(text) >> 8), byte(len(text))}, text...)
	again, err := trust.Seal(append(forged, body...), to.Identity.Recipient().String())
	must(t, err)
	return again
}

func TestAReceiverCannotPassALetterOnAsAnothers(t *testing.T) {
	f := grow(t)
	sender, thief, victim := box(t, f.county.Authority, "n1", time.Now()), box(t, f.sibling.Authority, "n1", time.Now()), box(t, f.zhejiang.Authority, "n1", time.Now())
	sealed, err := sender.SealLetter(f.county.chain, mustRef(t, f.sibling.Division), []string{thief.Identity.Recipient().String()}, []byte("pay 1"))
	must(t, err)
	to := mustRef(t, f.zhejiang.Division)
	forgedLeaf, _ := f.sibling.forgeNode(t, f.county.Division, nil)
	for name, c := range map[string]struct {
		change func(head map[string]any, body []byte) []byte
		want   error
	}{
		"re-addressed":      {func(h map[string]any, b []byte) []byte { h["to"] = to.String(); return b }, trust.ErrForged},
		"not re-addressed":  {func(h map[string]any, b []byte) []byte { return b }, trust.ErrForged},
		"altered":           {func(h map[string]any, b []byte) []byte { h["to"] = to.String(); return []byte("pay 1000") }, trust.ErrForged},
		"moved boundary":    {func(h map[string]any, b []byte) []byte { h["to"] = to.String() + "p"; return b[1:] }, trust.ErrForged},
		"no signature":      {func(h map[string]any, b []byte) []byte { h["signature"] = nil; return b }, trust.ErrForged},
		"another algorithm": {func(h map[string]any, b []byte) []byte { h["algorithm"] = "none"; return b }, trust.ErrForged},
		"no chain":          {func(h map[string]any, b []byte) []byte { h["chain"] = nil; return b }, trust.ErrStranger},
		"leaf alone":        {func(h map[string]any, b []byte) []byte { h["chain"] = h["chain"].([]any)[:1]; return b }, trust.ErrStranger},
		"a missing link": {func(h map[string]any, b []byte) []byte {
			c := h["chain"].([]any)
			h["chain"] = append(c[:2:2], c[3:]...)
			return b
		}, trust.ErrStranger},
		"chain of the thief": {func(h map[string]any, b []byte) []byte {
			h["chain"] = ders(thief.Certificate, f.sibling.chain)
			return b
		}, trust.ErrForged},
		"leaf of the thief":   {func(h map[string]any, b []byte) []byte { h["chain"] = ders(forgedLeaf, f.sibling.chain); return b }, trust.ErrStranger},
		"under another chain": {func(h map[string]any, b []byte) []byte { h["chain"] = ders(forgedLeaf, f.county.chain); return b }, trust.ErrStranger},
		"an authority as leaf": {func(h map[string]any, b []byte) []byte {
			h["chain"] = ders(f.county.chain[0], f.county.chain)
			return b
		}, trust.ErrStranger},
	} {
		t.Run(name, func(t *testing.T) {
			forged := forgeLetter(t, thief, sealed, victim, c.change)
			if from, plain, err := victim.OpenLetter(forged, to, f.nation.Certificate, nil, time.Now()); !errors.Is(err, c.want) {
				t.Errorf("it opens as %q of %s: %v", plain, from, err)
			}
		})
	}
	server, k := f.county.forgeNode(t, f.county.Division, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })
	sender.Certificate, sender.Key = server, k
	sealed, err = sender.SealLetter(f.county.chain, to, []string{victim.Identity.Recipient().String()}, []byte("x"))
	must(t, err)
	if _, _, err := victim.OpenLetter(sealed, to, f.nation.Certificate, nil, time.Now()); !errors.Is(err, trust.ErrStranger) {
		t.Errorf("a certificate for servers alone writes letters: %v", err)
	}
}

func ders(leaf *x509.Certificate, chain []*x509.Certificate) [][]byte {
	list := [][]byte{leaf.Raw}
	for _, c := range chain {
		list = append(list, c.Raw)
	}
	return list
}

func TestASignatureIsForOneUse(t *testing.T) {
	f := grow(t)
	sig, err := f.county.Sign(trust.ForEntry, []byte("entry"))
	must(t, err)
	check := func(a *trust.Authority, algorithm, what, data string) error {
		return trust.CheckSigned(a.Certificate, algorithm, what, []byte(data), sig)
	}
	must(t, check(f.county.Authority, trust.Algorithm, trust.ForEntry, "entry"))
	for name, err := range map[string]error{
		"another use":       check(f.county.Authority, trust.Algorithm, trust.ForLetter, "entry"),
		"another text":      check(f.county.Authority, trust.Algorithm, trust.ForEntry, "entrY"),
		"another authority": check(f.sibling.Authority, trust.Algorithm, trust.ForEntry, "entry"),
		"another algorithm": check(f.county.Authority, strings.ToUpper(trust.Algorithm), trust.ForEntry, "entry"),
	} {
		if !errors.Is(err, trust.ErrForged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
