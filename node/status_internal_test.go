package node

import (
	"strings"
	"testing"

	"tongban/replication"
)

// TestAStatusNamesWhatIsWrongWithAReplica: one sentence for each, with the reason in it, and
// none for a replica that is well.
func TestAStatusNamesWhatIsWrongWithAReplica(t *testing.T) {
	t.Parallel()
	far := int64(warnLag + 1)
	near := int64(1)
	for _, c := range []struct {
		is   replication.Status
		lag  *int64
		want string
	}{
		{replication.Status{Role: "leader", Leader: "n1"}, &near, ""},
		{replication.Status{Role: "rebuilding", Err: "page 7 of state.db does not match its checksum"}, nil,
			"database a/main is being rebuilt here from another node: page 7 of state.db does not match its checksum"},
		{replication.Status{Role: "stopped", Leader: "n2", Err: "the file is from another log"}, nil, "database a/main has stopped here: the file is from another log"},
		{replication.Status{Role: "follower", Leader: "n2", Held: "disk full"}, nil, "database a/main takes no changes here: disk full"},
		{replication.Status{Role: "follower"}, nil, "database a/main has no leader: nothing can be changed in it"},
		{replication.Status{Role: "follower", Leader: "n2"}, &far, "entries behind its leader"},
		{replication.Status{Role: "follower", Leader: "n2", Doubt: "two nodes hold different rows of a/main, and nobody can tell who is right"}, &near,
			"two nodes hold different rows of a/main, and nobody can tell who is right"},
	} {
		c.is.Database = "a/main"
		s := Status{Ready: true, Certificate: CertificateStatus{Days: 300}, Databases: []DatabaseStatus{{Status: c.is, Lag: c.lag}}}
		switch said := s.problems(); {
		case c.want == "" && len(said) > 0:
			t.Errorf("a replica that is well: %q", said)
		case c.want != "" && (len(said) != 1 || !strings.Contains(said[0], c.want)):
			t.Errorf("%+v: %q, want %q", c.is, said, c.want)
		}
	}
}
