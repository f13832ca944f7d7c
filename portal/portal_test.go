package portal

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestSmoke(t *testing.T) {
	p := newPortal(t)
	h := sinkHandler(t, p)
	for _, path := range []string{"/", "/form", "/refused"} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		t.Log(w.Code, w.Body.String())
	}
}
