package federation

import (
	"context"
	"errors"

	"tongban/division"
	"tongban/replication"
	"tongban/service"
)

// runMail sends what waits in a tenant's outbox until ctx ends with the leadership.
func (f *Federation) runMail(ctx context.Context, env service.Env) error {
	<-ctx.Done()
	return nil
}

// receiveMail relays a mail to the next hop, or has its receiver's leader receive it.
func (f *Federation) receiveMail(ctx context.Context, from division.Ref, body []byte) ([]byte, error) {
	return nil, errors.ErrUnsupported
}

// serveMail receives a mail on the leader of its receiver's database.
func (f *Federation) serveMail(ctx context.Context, id replication.DatabaseID, from division.Ref, body []byte) ([]byte, error) {
	return nil, errors.ErrUnsupported
}
