package databases

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"tongban/replication"
)

// level is how fresh a read is, by rqlite's names.
type level int

const (
	weak level = iota // The leader's, while its lease holds: never old.
	none              // This node's replica, as it is.
	linearizable
	strong // Here the same: the others are asked, no entry is needed for it.
)

// of is the level of the replica that reads.
func (l level) of() replication.Level {
	switch l {
	case none:
		return replication.Local
	case weak:
		return replication.Leader
	}
	return replication.Linearizable
}

// params are what the query of a request's address says.
type params struct {
	form
	level       level
	transaction bool
	queue, wait bool
	pretty      bool
	raftIndex   bool
	timeout     time.Duration // Of the whole request; 0: the default.
	dbTimeout   time.Duration // Of its statements; 0: the default.
	q           string
}

var errLevel = errors.New("level must be none, weak, linearizable or strong")

// parseParams reads a query. What rqlite knows and this does not (redirect, retries,
// noparse, freshness …) changes nothing and is let pass.
func parseParams(raw string) (p params, err error) {
	for raw != "" {
		var pair string
		pair, raw, _ = strings.Cut(raw, "&")
		key, value, _ := strings.Cut(pair, "=")
		if strings.ContainsAny(pair, "%+") {
			if key, err = url.QueryUnescape(key); err != nil {
				return p, err
			}
			if value, err = url.QueryUnescape(value); err != nil {
				return p, err
			}
		}
		if err := p.set(key, value); err != nil {
			return p, err
		}
	}
	return p, nil
}

func (p *params) set(key, value string) (err error) {
	switch key {
	case "timings":
		p.timings = true
	case "associative":
		p.associative = true
	case "blob_array":
		p.blobArray = true
	case "transaction":
		p.transaction = true
	case "queue":
		p.queue = true
	case "wait":
		p.wait = true
	case "pretty":
		p.pretty = true
	case "raft_index":
		p.raftIndex = true
	case "level":
		p.level, err = parseLevel(value)
	case "timeout":
		p.timeout, err = duration(key, value)
	case "db_timeout":
		p.dbTimeout, err = duration(key, value)
	case "q":
		if value == "" {
			return errors.New("query parameter not set")
		}
		p.q = value
	}
	return err
}

func parseLevel(s string) (level, error) {
	switch strings.ToLower(s) {
	case "none":
		return none, nil
	case "weak", "auto", "":
		return weak, nil
	case "linearizable":
		return linearizable, nil
	case "strong":
		return strong, nil
	}
	return weak, errLevel
}

func duration(key, value string) (time.Duration, error) {
	d, err := time.ParseDuration(value)
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("%s is not a valid duration", key)
	}
	return d, nil
}
