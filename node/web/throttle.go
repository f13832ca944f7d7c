package web

import (
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"tongban/portal"
	"tongban/service"
)

const (
	// Changes a minute that one address may ask of this node, and one account from
	// wherever it is signed in, with bursts of as many.
	anonymousPerMinute = 120.0
	signedInPerMinute  = 1200.0
	// readsPerMinute are the pages that one address may ask for: a hall of three hundred
	// clerks behind one, but not a search engine of their own.
	readsPerMinute = 6000.0
	// refusalsPerMinute of one account are recorded in the audit: a script that tries
	// every door must not fill it.
	refusalsPerMinute = 60.0
	// maxSources bounds the memory of the throttle; beyond it the full buckets go first.
	maxSources = 10_000
)

// throttle is a token bucket per source address.
type throttle struct {
	mu      sync.Mutex
	now     service.Clock
	buckets map[string]*bucket
}

type bucket struct {
	tokens, limit float64
	at            time.Time
}

func newThrottle(now service.Clock) *throttle {
	return &throttle{now: now, buckets: map[string]*bucket{}}
}

// take uses one token of the source; when there is none it returns in how many seconds
// there will be.
func (t *throttle) take(source string, limit float64) (wait int, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	b := t.buckets[source]
	if b == nil {
		if len(t.buckets) >= maxSources {
			t.forget(now)
		}
		b = &bucket{tokens: limit, limit: limit, at: now}
		t.buckets[source] = b
	}
	b.tokens = min(limit, b.tokens+now.Sub(b.at).Minutes()*limit)
	b.at = now
	if b.tokens < 1 {
		return int((1-b.tokens)*60/limit) + 1, false
	}
	b.tokens--
	return 0, true
}

// forget drops the buckets that have filled up again, or all when none has.
func (t *throttle) forget(now time.Time) {
	for source, b := range t.buckets {
		if b.tokens+now.Sub(b.at).Minutes()*b.limit >= b.limit {
			delete(t.buckets, source)
		}
	}
	if len(t.buckets) >= maxSources {
		clear(t.buckets)
	}
}

// throttled bounds what one address may ask for, changes more than reads. Who is signed in
// has a larger share of their own: a hall's clerks have one address. What comes from this
// machine itself, and the portal's own files, are not bounded.
func (w *Web) throttled(next http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		from := source(publicDoor, r)
		if loopback(from) || strings.HasPrefix(r.URL.Path, portal.AssetsPath) {
			next.ServeHTTP(rw, r)
			return
		}
		limit := anonymousPerMinute
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			from, limit = "read "+from, readsPerMinute
		} else if account := w.signedIn(r); account != "" {
			from, limit = "account "+account, signedInPerMinute
		}
		if wait, ok := w.throttle.take(from, limit); !ok {
			w.refuse(rw, r, service.Principal{}, service.ErrTooMany.With("retry_after", wait))
			return
		}
		next.ServeHTTP(rw, r)
	})
}

// signedIn returns the account whose session the request carries, as this node knows it;
// "" for everybody else. A cookie alone would be anybody's.
func (w *Web) signedIn(r *http.Request) string {
	cookie, err := r.Cookie(w.o.Cookie)
	if err != nil || !w.o.Databases.Serving() {
		return ""
	}
	who, _, err := w.o.Authenticate(r.Context(), w.o.Databases.Division(), cookie.Value, w.o.Now())
	if err != nil {
		return "" // Whoever answers the request will say what is wrong.
	}
	return who.Account
}

// loopback reports whether the address is of this machine; that of a Unix socket is "@".
func loopback(source string) bool {
	ip := net.ParseIP(source)
	return source == "@" || ip != nil && ip.IsLoopback()
}
