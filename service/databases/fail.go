package databases

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"tongban/replication"
)

// fail answers a request whose statements have no results.
func (c *call) fail(err error) {
	switch {
	case errors.Is(err, replication.ErrUnknownOutcome):
		c.unavailable("the leadership was lost or the time was over before the outcome was known: the change may or may not be made", outcomeOpen)
	case errors.Is(err, replication.ErrNotLeader):
		c.unavailable("leader not found", outcomeNone)
	case errors.Is(err, replication.ErrOverloaded):
		c.unavailable("too many changes are waiting", outcomeNone)
	case errors.Is(err, replication.ErrReplaced):
		c.unavailable("this node receives a new copy of the database", outcomeNone)
	case errors.Is(err, replication.ErrDisk):
		c.unavailable("the disk of the node refuses", outcomeNone)
	case errors.Is(err, replication.ErrTooSlow):
		c.results()
		c.out = appendError(c.out, "execute timeout")
		c.finish(0)
	case errors.Is(err, replication.ErrTooMuch):
		c.refuse(http.StatusRequestEntityTooLarge, textOf(err))
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		c.unavailable("the time of the request is over", outcomeNone)
	case errors.Is(err, replication.ErrClosed):
		c.unavailable("the node is stopping", outcomeNone)
	default:
		c.server.o.Log.Error("serve a database", "database", c.grant.database, "err", err)
		c.unavailable("this node's replica of the database does not serve", outcomeNone)
	}
}

// textOf is what a program is told of what is wrong with its statement: SQLite's own words
// where they are.
func textOf(err error) string {
	switch {
	case errors.Is(err, replication.ErrTooSlow):
		return "execute timeout"
	case errors.Is(err, context.DeadlineExceeded):
		return "query timeout"
	}
	text := err.Error()
	text = strings.TrimPrefix(text, "sqlite: ")
	return strings.TrimPrefix(text, "replication: ")
}
