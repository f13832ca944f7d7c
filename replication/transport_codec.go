package replication

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/hashicorp/raft"
)

const (
	// appendSoftBytes is where an AppendEntries is cut: raft bounds the entries by
	// number alone, and 256 of the largest would be 256 MiB. What is cut off follows in
	// the next request.
	appendSoftBytes = 2 << 20
	// maxAppendEntries is more than raft is configured to send in one request.
	maxAppendEntries = 4096
	// minEntryBytes is the shortest an encoded entry can be.
	minEntryBytes = 6
)

// cutEntries shortens a request to appendSoftBytes, at least one entry. raft goes on from
// the last entry that is left in the request, so the caller must send all that is left.
func cutEntries(q *raft.AppendEntriesRequest) {
	size := 0
	for i, e := range q.Entries {
		size += entrySize(e)
		if size > appendSoftBytes && i > 0 {
			q.Entries = q.Entries[:i:i]
			return
		}
	}
}

// Requests. Each begins with raft's protocol version; the header's id and address are
// not sent but are the peer's. Numbers are varints.

func appendAppendRequest(b []byte, q *raft.AppendEntriesRequest) []byte {
	b = append(b, byte(q.ProtocolVersion))
	b = binary.AppendUvarint(b, q.Term)
	b = binary.AppendUvarint(b, q.PrevLogEntry)
	b = binary.AppendUvarint(b, q.PrevLogTerm)
	b = binary.AppendUvarint(b, q.LeaderCommitIndex)
	b = binary.AppendUvarint(b, uint64(len(q.Entries)))
	var body []byte
	for _, e := range q.Entries {
		b = binary.AppendUvarint(b, e.Index)
		body = appendEntryBody(body[:0], e)
		b = binary.AppendUvarint(b, uint64(len(body)))
		b = append(b, body...)
	}
	return b
}

func decodeAppendRequest(b []byte, from NodeID) (*raft.AppendEntriesRequest, error) {
	r := byteReader{b: b}
	//lint:ignore SA1019 raft's own followers of protocol 2 still look at it
	q := &raft.AppendEntriesRequest{RPCHeader: peerHeader(r.byte(), from), Leader: []byte(from)}
	q.Term = r.uvarint()
	q.PrevLogEntry = r.uvarint()
	q.PrevLogTerm = r.uvarint()
	q.LeaderCommitIndex = r.uvarint()
	n := r.uvarint()
	if n > maxAppendEntries || n > uint64(len(r.b)/minEntryBytes) {
		return nil, fmt.Errorf("%d entries in %d bytes", n, len(b))
	}
	if n > 0 {
		q.Entries = make([]*raft.Log, n)
	}
	all := make([]raft.Log, n)
	for i := range q.Entries {
		e := &all[i]
		e.Index = r.uvarint()
		body := r.bytes(r.uvarint())
		if r.err != nil {
			return nil, r.err
		}
		if err := decodeEntryBody(body, e); err != nil {
			return nil, err
		}
		// raft decodes a configuration with a function that panics; find out here.
		if e.Type == raft.LogConfiguration {
			if _, err := decodeConfiguration(e.Data); err != nil {
				return nil, err
			}
		}
		q.Entries[i] = e
	}
	return q, r.end()
}

// isHeartbeat is raft's own rule for the fast path.
func isHeartbeat(q *raft.AppendEntriesRequest) bool {
	return q.Term != 0 && q.PrevLogEntry == 0 && q.PrevLogTerm == 0 && len(q.Entries) == 0 && q.LeaderCommitIndex == 0
}

func appendVoteRequest(b []byte, q *raft.RequestVoteRequest) []byte {
	b = append(b, byte(q.ProtocolVersion))
	b = binary.AppendUvarint(b, q.Term)
	b = binary.AppendUvarint(b, q.LastLogIndex)
	b = binary.AppendUvarint(b, q.LastLogTerm)
	return appendBool(b, q.LeadershipTransfer)
}

func decodeVoteRequest(b []byte, from NodeID) (*raft.RequestVoteRequest, error) {
	r := byteReader{b: b}
	//lint:ignore SA1019 raft's own followers of protocol 2 still look at it
	q := &raft.RequestVoteRequest{RPCHeader: peerHeader(r.byte(), from), Candidate: []byte(from)}
	q.Term, q.LastLogIndex, q.LastLogTerm = r.uvarint(), r.uvarint(), r.uvarint()
	q.LeadershipTransfer = r.bool()
	return q, r.end()
}

func appendPreVoteRequest(b []byte, q *raft.RequestPreVoteRequest) []byte {
	b = append(b, byte(q.ProtocolVersion))
	b = binary.AppendUvarint(b, q.Term)
	b = binary.AppendUvarint(b, q.LastLogIndex)
	return binary.AppendUvarint(b, q.LastLogTerm)
}

func decodePreVoteRequest(b []byte, from NodeID) (*raft.RequestPreVoteRequest, error) {
	r := byteReader{b: b}
	q := &raft.RequestPreVoteRequest{RPCHeader: peerHeader(r.byte(), from)}
	q.Term, q.LastLogIndex, q.LastLogTerm = r.uvarint(), r.uvarint(), r.uvarint()
	return q, r.end()
}

func decodeTimeoutNow(b []byte, from NodeID) (*raft.TimeoutNowRequest, error) {
	r := byteReader{b: b}
	q := &raft.TimeoutNowRequest{RPCHeader: peerHeader(r.byte(), from)}
	return q, r.end()
}

func appendInstallRequest(b []byte, q *raft.InstallSnapshotRequest) []byte {
	b = append(b, byte(q.ProtocolVersion))
	b = binary.AppendVarint(b, int64(q.SnapshotVersion))
	for _, n := range []uint64{q.Term, q.LastLogIndex, q.LastLogTerm, q.ConfigurationIndex, uint64(q.Size)} {
		b = binary.AppendUvarint(b, n)
	}
	b = binary.AppendUvarint(b, uint64(len(q.Configuration)))
	return append(b, q.Configuration...)
}

func decodeInstallRequest(b []byte, from NodeID) (*raft.InstallSnapshotRequest, error) {
	r := byteReader{b: b}
	q := &raft.InstallSnapshotRequest{RPCHeader: peerHeader(r.byte(), from), Leader: []byte(from)}
	q.SnapshotVersion = raft.SnapshotVersion(r.varint())
	q.Term, q.LastLogIndex, q.LastLogTerm, q.ConfigurationIndex = r.uvarint(), r.uvarint(), r.uvarint(), r.uvarint()
	size := r.uvarint()
	q.Configuration = r.bytes(r.uvarint())
	if err := r.end(); err != nil {
		return nil, err
	}
	if size == 0 || size > math.MaxInt64 {
		return nil, fmt.Errorf("a snapshot of %d bytes", size)
	}
	q.Size = int64(size)
	if _, err := decodeConfiguration(q.Configuration); err != nil {
		return nil, err
	}
	return q, nil
}

func decodeConfiguration(b []byte) (c raft.Configuration, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the raft configuration cannot be read: %v", p)
		}
	}()
	return raft.DecodeConfiguration(b), nil
}

// peerHeader is the header of a message that came over a connection from a peer.
func peerHeader(version byte, from NodeID) raft.RPCHeader {
	return raft.RPCHeader{ProtocolVersion: raft.ProtocolVersion(version), ID: []byte(from), Addr: []byte(from)}
}

func appendUvarints(b []byte, numbers ...uint64) []byte {
	for _, n := range numbers {
		b = binary.AppendUvarint(b, n)
	}
	return b
}

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

// appendResponse encodes any of raft's responses.
func appendResponse(b []byte, response any) ([]byte, error) {
	switch r := response.(type) {
	case *raft.AppendEntriesResponse:
		return appendResponse(b, vowedAppend{AppendEntriesResponse: r})
	case vowedAppend:
		b = append(b, byte(r.ProtocolVersion))
		b = appendUvarints(b, r.Term, r.LastLog)
		b = appendBool(appendBool(b, r.Success), r.NoRetryBackoff)
		return appendUvarints(appendBool(b, r.promised), r.breaks), nil
	case *raft.RequestVoteResponse:
		b = append(b, byte(r.ProtocolVersion))
		return appendBool(binary.AppendUvarint(b, r.Term), r.Granted), nil
	case *raft.RequestPreVoteResponse:
		b = append(b, byte(r.ProtocolVersion))
		return appendBool(binary.AppendUvarint(b, r.Term), r.Granted), nil
	case *raft.TimeoutNowResponse:
		return append(b, byte(r.ProtocolVersion)), nil
	case *raft.InstallSnapshotResponse:
		b = append(b, byte(r.ProtocolVersion))
		return appendBool(binary.AppendUvarint(b, r.Term), r.Success), nil
	default:
		return nil, fmt.Errorf("raft answered with a %T", response)
	}
}

// decodeResponse fills the response that the request's caller handed in.
func decodeResponse(b []byte, from NodeID, response any) error {
	r := byteReader{b: b}
	header := peerHeader(r.byte(), from)
	switch out := response.(type) {
	case *raft.AppendEntriesResponse:
		return decodeResponse(b, from, &vowedAppend{AppendEntriesResponse: out})
	case *vowedAppend:
		out.RPCHeader = header
		out.Term, out.LastLog = r.uvarint(), r.uvarint()
		out.Success, out.NoRetryBackoff = r.bool(), r.bool()
		out.promised, out.breaks = r.bool(), r.uvarint()
	case *raft.RequestVoteResponse:
		out.RPCHeader = header
		out.Term, out.Granted = r.uvarint(), r.bool()
	case *raft.RequestPreVoteResponse:
		out.RPCHeader = header
		out.Term, out.Granted = r.uvarint(), r.bool()
	case *raft.TimeoutNowResponse:
		out.RPCHeader = header
	case *raft.InstallSnapshotResponse:
		out.RPCHeader = header
		out.Term, out.Success = r.uvarint(), r.bool()
	default:
		return fmt.Errorf("no response can be read into a %T", response)
	}
	return r.end()
}
