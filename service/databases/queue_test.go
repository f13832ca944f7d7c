package databases

import (
	"math"
	"reflect"
	"testing"

	"tongban/replication"
)

func TestQueuedStatementsSurviveTheWayToAnotherNode(t *testing.T) {
	list := []replication.Statement{
		{SQL: "INSERT \"a\"\n"},
		{SQL: "x", Args: []any{nil, true, int64(math.MinInt64), 1.0, 1e300, -0.5, "x'0'", "王\x00", []byte{}, []byte{0, 255}}},
		{SQL: "y", Args: []any{replication.Named{Name: "n", Value: []byte{7}}, "z", replication.Named{Name: "m", Value: nil}}},
	}
	got, err := decode(encodeStatements(nil, list))
	if err != nil || !reflect.DeepEqual(got, list) {
		t.Errorf("%#v, %v", got, err)
	}
}
