package web

import (
	"errors"
	"io"
	"net/http"
	"sync"

	"tongban/service"
)

const (
	// maxBodies bounds the memory that the bodies of requests under way take, in bytes:
	// beyond it a node would die of many large forms that are sent slowly.
	maxBodies = 256 << 20
	// maxBodiesFrom is the share of one address of it: four imports, or 32 forms.
	maxBodiesFrom = 32 << 20
)

// errBodies: other bodies take the memory that there is for them.
var errBodies = errors.New("web: too many bodies are under way")

// bodies counts the bytes of the bodies that are held, as they arrive: what somebody
// only announces takes nothing.
type bodies struct {
	mu   sync.Mutex
	all  int
	from map[string]int
}

func newBodies() *bodies { return &bodies{from: map[string]int{}} }

// take counts n bytes more from the source; false: there is no room for them. What comes
// from this machine itself (tools, a front) is not one address's.
func (b *bodies) take(source string, n int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.all+n > maxBodies || b.from[source]+n > maxBodiesFrom && !loopback(source) {
		return false
	}
	b.all += n
	b.from[source] += n
	return true
}

func (b *bodies) release(source string, n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.all -= n
	if b.from[source] -= n; b.from[source] <= 0 {
		delete(b.from, source)
	}
}

// body is one body on its way in.
type body struct {
	r      io.Reader
	bodies *bodies
	source string
	n      int // Bytes that are counted.
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if !b.bodies.take(b.source, n) {
		return 0, errBodies
	}
	b.n += n
	return n, err
}

// readBody returns the whole body; release must be called when it is not needed any more,
// also after an error. Refusals: ErrTooLarge, ErrUnavailable, ErrInvalid.
func (w *Web) readBody(r *http.Request, source string, limit int64) (raw []byte, release func(), err error) {
	in := &body{r: http.MaxBytesReader(nil, r.Body, limit), bodies: w.bodies, source: source}
	raw, err = io.ReadAll(in)
	release = func() { w.bodies.release(source, in.n) }
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		err = service.ErrTooLarge.With("max", limit)
	case errors.Is(err, errBodies):
		err = service.ErrUnavailable.With("retry_after", 5).Because(err)
	case err != nil:
		err = service.ErrInvalid.With("detail", "the body ended early").Because(err)
	}
	return raw, release, err
}
