package node

import (
	"net/http"
	"runtime/pprof"
	"strconv"
	"time"
)

// maxProfile bounds how long one profile is taken, seconds.
const maxProfile = 60

// serveProfile is GET /node/profile?seconds=N of the admin socket: what this process does
// in the next N seconds (5), as a CPU profile for `go tool pprof`.
func (n *Node) serveProfile(rw http.ResponseWriter, r *http.Request) {
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
