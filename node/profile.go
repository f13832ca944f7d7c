package node

import (
	"net/http"
	"runtime"
	"runtime/pprof"
	"strconv"
	"time"
)

// maxProfile bounds how long one profile is taken, seconds.
const maxProfile = 60

// serveProfile is GET /node/profile?kind=cpu|heap|goroutine&seconds=N of the admin socket,
// for `go tool pprof`: what this process does in the next N seconds (5), what holds its
// memory after a collection, or where its goroutines stand.
func (n *Node) serveProfile(rw http.ResponseWriter, r *http.Request) {
	kind := r.URL.Query().Get("kind")
	switch kind {
	case "", "cpu":
		serveCPUProfile(rw, r)
		return
	case "heap":
		runtime.GC() // A profile shows what the last collection found.
	case "goroutine":
	default:
		problem(rw, http.StatusBadRequest, "bad_kind", "kind is cpu, heap or goroutine")
		return
	}
	rw.Header().Set("Content-Type", "application/octet-stream")
	if err := pprof.Lookup(kind).WriteTo(rw, 0); err != nil {
		n.log.Info("profile not sent", "kind", kind, "error", err)
	}
}

func serveCPUProfile(rw http.ResponseWriter, r *http.Request) {
	seconds := 5
	if text := r.URL.Query().Get("seconds"); text != "" {
		var err error
		if seconds, err = strconv.Atoi(text); err != nil || seconds < 1 || seconds > maxProfile {
			problem(rw, http.StatusBadRequest, "bad_seconds", "seconds is a number from 1 to "+strconv.Itoa(maxProfile))
			return
		}
	}
	rw.Header().Set("Content-Type", "application/octet-stream")
	if err := pprof.StartCPUProfile(rw); err != nil {
		problem(rw, http.StatusConflict, "busy", "another profile is being taken; try again later")
		return
	}
	defer pprof.StopCPUProfile()
	select {
	case <-r.Context().Done():
	case <-time.After(time.Duration(seconds) * time.Second):
	}
}
