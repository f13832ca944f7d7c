package node

import (
	"crypto/x509"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"tongban/division"
	"tongban/federation"
	"tongban/node/trust"
)

// office is a division with its first node.
type office struct {
	letters
	own   *trust.Authority
	certs []*x509.Certificate
}

// found makes a division below another; nil: the anchor.
func foundOffice(t *testing.T, parent *office, ref division.Ref) *office {
	t.Helper()
	own, err := trust.NewAuthority(trust.Of(ref), time.Now())
	check(t, err)
	id, err := trust.NewIdentity()
	check(t, err)
	key, err := trust.NewKey()
	check(t, err)
	o := &office{own: own}
	k := &trust.Keys{Division: trust.Of(ref), Node: "n1", Identity: id, Key: key, Authority: own.Certificate}
	if parent != nil {
		csr, err := own.Request()
		check(t, err)
		above := parent.certs
		if len(above) == 0 {
			above = []*x509.Certificate{parent.own.Certificate}
		}
		ca, err := parent.own.SignChild(csr, parent.own.Division.Child(string(ref.Code), ref.Level.String()), time.Now())
		check(t, err)
		o.certs = append([]*x509.Certificate{ca}, above...)
		o.own, err = own.As(o.certs)
		check(t, err)
	}
	k.Certificate, err = o.own.Issue("n1", key.Public(), time.Now())
	check(t, err)
	o.letters = letters{self: ref, keys: k, now: time.Now,
		chain:      func() ([]*x509.Certificate, error) { return o.certs, nil },
		authority:  func() (*trust.Authority, error) { return o.own, nil },
		recipients: func() ([]string, error) { return []string{id.Recipient().String()}, nil },
		entry:      func(division.Ref) (federation.Entry, error) { return federation.Entry{}, federation.ErrNoDivision },
		left:       func(division.Ref) (bool, error) { return false, nil },
	}
	return o
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// entry is an office's row of the directory, as it comes over the line.
func (o *office) entry(t *testing.T) federation.Entry {
	t.Helper()
	e := federation.Entry{Ref: o.self, Name: "name", Web: "https://<here>&there", Epoch: "1"}
	if len(o.certs) > 1 {
		d, err := trust.Named(o.certs[1])
		check(t, err)
		e.Parent, err = d.Ref()
		check(t, err)
	}
	e, err := o.Sign(e)
	check(t, err)
	return carry(t, e)
}

func carry(t *testing.T, e federation.Entry) (got federation.Entry) {
	t.Helper()
	text, err := json.Marshal(e)
	check(t, err)
	check(t, json.Unmarshal(text, &got))
	return got
}

func TestEntriesAreOfTheDivisionThatTheyName(t *testing.T) {
	nation := foundOffice(t, nil, division.Nation)
	city := foundOffice(t, nation, division.Ref{Level: division.City, Code: "511600"})
	county := foundOffice(t, city, division.Ref{Level: division.County, Code: "511602"})
	sibling := foundOffice(t, city, division.Ref{Level: division.County, Code: "511603"})
	far := foundOffice(t, nation, division.Ref{Level: division.Province, Code: "330000"})
	alone := foundOffice(t, nil, division.Ref{Level: division.County, Code: "511602"})
	for _, reader := range []*office{nation, city, county, sibling, far} {
		for _, writer := range []*office{nation, city, county, sibling, far} {
			if err := reader.Check(writer.entry(t)); err != nil {
				t.Errorf("%s refuses the entry of %s: %v", reader.self, writer.self, err)
			}
		}
		if err := reader.Check(alone.entry(t)); !errors.Is(err, trust.ErrStranger) {
			t.Errorf("%s takes the entry of a division of another tree: %v", reader.self, err)
		}
	}
	check(t, alone.Check(alone.entry(t))) // It is its own anchor.

	if _, err := county.Sign(federation.Entry{Ref: sibling.self}); err == nil {
		t.Error("a division signs another's entry")
	}
	for name, change := range map[string]func(e *federation.Entry){
		"web altered":          func(e *federation.Entry) { e.Web = "https://evil" },
		"name altered":         func(e *federation.Entry) { e.Name += "x" },
		"epoch altered":        func(e *federation.Entry) { e.Epoch = "2" },
		"of another division":  func(e *federation.Entry) { e.Ref = sibling.self },
		"below another parent": func(e *federation.Entry) { e.Parent = far.self },
		"below none":           func(e *federation.Entry) { e.Parent = division.Ref{} },
		"a key added": func(e *federation.Entry) {
			e.Recipients = append(e.Recipients, sibling.keys.Identity.Recipient().String())
		},
		"more keys than boxes": func(e *federation.Entry) {
			for range maxRecipients {
				e.Recipients = append(e.Recipients, e.Recipients[0])
			}
			e.Signature = resign(t, *e, county)
		},
		"no key":                   func(e *federation.Entry) { e.Recipients = nil },
		"a key that is none":       func(e *federation.Entry) { e.Recipients = []string{"age1"} },
		"another division's chain": func(e *federation.Entry) { e.Chain = sibling.entry(t).Chain },
		"the chain of its like":    func(e *federation.Entry) { e.Chain = alone.entry(t).Chain },
		"a missing link":           func(e *federation.Entry) { e.Chain = append(e.Chain[:1:1], e.Chain[2:]...) },
		"no chain":                 func(e *federation.Entry) { e.Chain = nil },
		"no signature":             func(e *federation.Entry) { e.Signature = nil },
		"another algorithm":        func(e *federation.Entry) { e.Algorithm = "" },
		"signed by its sibling":    func(e *federation.Entry) { e.Signature = resign(t, *e, sibling) },
		"signed by its parent":     func(e *federation.Entry) { e.Signature = resign(t, *e, city) },
		"the sibling's under its name": func(e *federation.Entry) {
			r := e.Ref
			*e = sibling.entry(t)
			e.Ref = r
			e.Signature = resign(t, *e, sibling)
		},
	} {
		e := county.entry(t)
		change(&e)
		if err := far.Check(carry(t, e)); err == nil {
			t.Errorf("an entry is taken: %s", name)
		}
	}
}

// resign signs an entry by another division's authority.
func resign(t *testing.T, e federation.Entry, by *office) []byte {
	t.Helper()
	text, err := entryText(e)
	check(t, err)
	signature, err := by.own.Sign(trust.ForEntry, text)
	check(t, err)
	return signature
}

func TestALetterCrossesTheTree(t *testing.T) {
	nation := foundOffice(t, nil, division.Nation)
	city := foundOffice(t, nation, division.Ref{Level: division.City, Code: "511600"})
	county := foundOffice(t, city, division.Ref{Level: division.County, Code: "511602"})
	far := foundOffice(t, nation, division.Ref{Level: division.Province, Code: "330000"})
	sealed, err := county.Seal(far.entry(t), []byte("a case"))
	check(t, err)
	if from, plain, err := far.Open(sealed); err != nil || from != county.self || string(plain) != "a case" {
		t.Errorf("it is %q of %s, %v", plain, from, err)
	}
	for _, relay := range []*office{city, nation, county} {
		if _, _, err := relay.Open(sealed); !errors.Is(err, trust.ErrNotRecipient) {
			t.Errorf("%s opens a letter to another: %v", relay.self, err)
		}
	}
	if _, err := county.Seal(federation.Entry{Ref: far.self}, nil); err == nil {
		t.Error("a letter is sealed to nobody")
	}
}

// TestAReplacedAuthorityWritesNoLetters: the box that was lost has the key of the authority and
// its chain, and both are good for years.
func TestAReplacedAuthorityWritesNoLetters(t *testing.T) {
	nation := foundOffice(t, nil, division.Nation)
	far := foundOffice(t, nation, division.Ref{Level: division.Province, Code: "330000"})
	ref := division.Ref{Level: division.Province, Code: "510000"}
	lost, anew := foundOffice(t, nation, ref), foundOffice(t, nation, ref)
	known := lost.entry(t)
	far.letters.entry = func(of division.Ref) (federation.Entry, error) {
		if of != ref {
			return federation.Entry{}, federation.ErrNoDivision
		}
		return known, nil
	}
	opens := func(by *office) error {
		sealed, err := by.Seal(far.entry(t), []byte("a case"))
		check(t, err)
		_, _, err = far.Open(sealed)
		return err
	}
	if err := opens(lost); err != nil {
		t.Errorf("by the authority that the directory has: %v", err)
	}
	known = anew.entry(t)
	if err := opens(lost); !errors.Is(err, trust.ErrStranger) {
		t.Errorf("by the one that was replaced: %v", err)
	}
	if err := opens(anew); err != nil {
		t.Errorf("by the one that took its place: %v", err)
	}
	far.letters.entry = func(division.Ref) (federation.Entry, error) { return federation.Entry{}, errors.New("the disk") }
	if err := opens(anew); err == nil {
		t.Error("a letter is opened without the directory")
	}
}

func TestARevocationIsTheParentsToMake(t *testing.T) {
	nation := foundOffice(t, nil, division.Nation)
	city := foundOffice(t, nation, division.Ref{Level: division.City, Code: "511600"})
	county := foundOffice(t, city, division.Ref{Level: division.County, Code: "511602"})
	other := foundOffice(t, nation, division.Ref{Level: division.City, Code: "510100"})
	made, err := city.SignRevocation(federation.Revocation{Ref: county.self, Parent: city.self, At: time.Now().UTC()})
	check(t, err)
	for _, reader := range []*office{nation, city, county, other} {
		check(t, reader.CheckRevocation(made))
	}
	if _, err := other.SignRevocation(federation.Revocation{Ref: county.self, Parent: city.self}); err == nil {
		t.Error("a city revokes as another")
	}
	for name, change := range map[string]func(r *federation.Revocation){
		"of another division": func(r *federation.Revocation) { r.Ref = other.self },
		"by another parent":   func(r *federation.Revocation) { r.Parent = other.self },
		"of another time":     func(r *federation.Revocation) { r.AsOf = r.At },
		"by another's chain":  func(r *federation.Revocation) { r.Chain = [][]byte{other.certs[0].Raw, nation.own.Certificate.Raw} },
		"without a signature": func(r *federation.Revocation) { r.Signature = nil },
		"as of an entry":      func(r *federation.Revocation) { r.Signature = city.entry(t).Signature },
	} {
		r := made
		change(&r)
		if err := nation.CheckRevocation(r); err == nil {
			t.Errorf("a revocation %s is believed", name)
		}
	}

	letter, err := county.Seal(other.entry(t), []byte("after it has left"))
	check(t, err)
	if _, _, err := other.Open(letter); err != nil {
		t.Fatalf("before it has left: %v", err)
	}
	other.left = func(of division.Ref) (bool, error) { return of == county.self, nil }
	if _, _, err := other.Open(letter); !errors.Is(err, trust.ErrStranger) {
		t.Errorf("a letter of a division that has left: %v", err)
	}
}
