package federation

import (
	"context"
	"errors"

	"tongban/division"
	"tongban/service"
)

// runFeeds sends rows to every neighbour until ctx ends with the leadership.
func (f *Federation) runFeeds(ctx context.Context, env service.Env) error {
	<-ctx.Done()
	return nil
}

// serveFeed takes rows of a neighbour, on the division database's leader.
func (f *Federation) serveFeed(ctx context.Context, from division.Ref, body []byte) ([]byte, error) {
	return nil, errors.ErrUnsupported
}
