package databases

import (
	"context"
	"encoding/base64"
	"strings"
	"sync"

	"tongban/replication"
	"tongban/service"
)

// maxGrants bounds the credentials that are remembered; beyond it all are forgotten.
const maxGrants = 20_000

// keyring remembers what credentials open, for as long as no key was revoked. Every request
// that comes after this node has applied a revocation sees it: what is remembered counts for
// one index of the division database only, and costs one look at it to count for the next.
type keyring struct {
	mu          sync.RWMutex
	at          replication.Index // Of the division database: nothing was revoked up to there.
	revocations int64
	grants      map[string]grant // By the Authorization header.
}

// open returns what a request's Authorization header opens, or errNoGrant.
func (k *keyring) open(ctx context.Context, division *service.DB, header string) (grant, error) {
	at := division.Applied() // First: what is read later is at least as new.
	k.mu.RLock()
	g, known := k.grants[header]
	fresh := k.at == at
	k.mu.RUnlock()
	if known && fresh {
		return g, nil
	}
	if known {
		return k.renew(ctx, division, at, header)
	}
	return k.learn(ctx, division, at, header)
}

// renew looks whether a key was revoked since.
func (k *keyring) renew(ctx context.Context, division *service.DB, at replication.Index, header string) (grant, error) {
	var revocations int64
	err := division.View(ctx, replication.Local, func(v *service.View) (err error) {
		revocations, err = readRevocations(v)
		return err
	})
	if err != nil {
		return grant{}, err
	}
	k.note(at, revocations)
	k.mu.RLock()
	g, ok := k.grants[header]
	k.mu.RUnlock()
	if ok {
		return g, nil
	}
	return k.learn(ctx, division, at, header)
}

// learn looks up credentials that are not known.
func (k *keyring) learn(ctx context.Context, division *service.DB, at replication.Index, header string) (grant, error) {
	id, secret, ok := parseBasic(header)
	if !ok {
		return grant{}, errNoGrant
	}
	g, revocations, err := lookUp(ctx, division, id, secret)
	if err != nil {
		return grant{}, err
	}
	k.note(at, revocations)
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.revocations == revocations {
		if len(k.grants) >= maxGrants {
			clear(k.grants)
		}
		k.grants[strings.Clone(header)] = g
	}
	return g, nil
}

// note remembers that up to an index so many keys were revoked.
func (k *keyring) note(at replication.Index, revocations int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if revocations > k.revocations || k.grants == nil {
		k.grants, k.revocations = map[string]grant{}, revocations
	}
	if revocations == k.revocations {
		k.at = max(k.at, at)
	}
}

// parseBasic reads "Basic base64(<tenant>/<database>:<key>)"; the two parts of the user may
// be divided by a dot too, which needs no escaping within an address.
func parseBasic(header string) (id replication.DatabaseID, secret string, ok bool) {
	scheme, text, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "basic") {
		return "", "", false
	}
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return "", "", false
	}
	user, secret, found := strings.Cut(string(raw), ":")
	if !found || !strings.HasPrefix(secret, keyPrefix) {
		return "", "", false
	}
	return replication.DatabaseID(strings.Replace(user, ".", "/", 1)), secret, true
}
