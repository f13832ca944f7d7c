package node

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"time"

	"tongban/division"
	"tongban/federation"
	"tongban/federation/leaf"
	"tongban/node/trust"
	"tongban/replication"
	"tongban/service"
)

// shown are the authorities' public keys with which lines of children were let in.
type shown struct {
	mu   sync.Mutex
	keys map[division.Ref]map[string]bool
}

func (s *shown) note(child division.Ref, key []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keys == nil {
		s.keys = map[division.Ref]map[string]bool{}
	}
	if s.keys[child] == nil {
		s.keys[child] = map[string]bool{}
	}
	s.keys[child][string(key)] = true
}

// others returns the children that were let in with another key than the table has now, and
// forgets what they have shown.
func (s *shown) others(now map[division.Ref]string) []division.Ref {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []division.Ref
	for child, keys := range s.keys {
		key, enrolled := now[child]
		if delete(keys, key); !enrolled || len(keys) > 0 {
			list = append(list, child)
			delete(s.keys, child)
			continue
		}
		keys[key] = true
	}
	return list
}

// authorizeChild says which child a line belongs to whose certificate was verified. A
// child that is held may connect: it is told why its rows are refused. One whose
// certificates have ended may ask for new ones, unless it is held.
func (n *Node) authorizeChild(s tls.ConnectionState) (leaf.Grant, error) {
	ref, _, err := trust.PeerDivision(s)
	if err != nil {
		return leaf.Grant{}, err
	}
	authority, err := trust.PeerAuthority(s)
	if err != nil {
		return leaf.Grant{}, err
	}
	grant := leaf.Grant{Child: ref}
	if trust.Ended(s.PeerCertificates, n.now()) {
		grant.Only = federation.KindTrust
	}
	key := authority.RawSubjectPublicKeyInfo
	if err := n.checkChild(grant, string(key)); err != nil {
		return grant, err
	}
	n.shown.note(ref, key)
	return grant, n.checkChild(grant, string(key)) // Again: a change before the note was not looked for.
}

// checkChild refuses whoever is no child, or is one by another authority; and one that is
// held, by certificates that have ended.
func (n *Node) checkChild(g leaf.Grant, key string) error {
	ref := g.Child
	var child federation.Child
	err := n.division().View(context.Background(), replication.Local, func(v *service.View) (err error) {
		child, err = federation.ReadChild(v, ref)
		return err
	})
	if errors.Is(err, federation.ErrNoChild) {
		return fmt.Errorf("%s is no child of this division; it enrols with `tongban enrol`", ref)
	}
	if err != nil {
		return err
	}
	entered, err := x509.ParseCertificate(child.CA)
	if err == nil && string(entered.RawSubjectPublicKeyInfo) != key {
		err = fmt.Errorf("%s shows another authority than it was enrolled with", ref)
	}
	if err == nil && g.Only != "" && child.State != federation.Active {
		err = fmt.Errorf("%s is %s, and its certificates have ended", ref, child.State)
	}
	return err
}

// followChildren ends the lines of a child whose authority was replaced: they were let in
// when they came, and the box that was lost may still have one.
func (n *Node) followChildren(ctx context.Context) error {
	db := n.division()
	read := map[string]string{} // Keys by certificate: reading one costs more than the query.
	for {
		applied := db.AppliedChanged()
		now := map[division.Ref]string{}
		err := db.View(ctx, replication.Local, func(v *service.View) error {
			children, err := federation.ReadChildren(v)
			for _, c := range children {
				key, ok := read[string(c.CA)]
				if !ok {
					cert, err := x509.ParseCertificate(c.CA)
					if err != nil {
						continue
					}
					key = string(cert.RawSubjectPublicKeyInfo)
					read[string(c.CA)] = key
				}
				now[c.Ref] = key
			}
			return err
		})
		if err == nil {
			for _, child := range n.shown.others(now) {
				n.log.Warn("end the lines of a child whose authority is another one now", "child", child.String())
				n.wire().leaf.Kick(child)
			}
		} else if ctx.Err() == nil {
			n.log.Debug("follow the children", "err", err) // Before the tables are there.
		}
		select {
		case <-ctx.Done():
			return nil
		case <-applied:
		}
		select { // A busy database changes often, its children rarely.
		case <-ctx.Done():
			return nil
		case <-time.After(followParentPause):
		}
	}
}
