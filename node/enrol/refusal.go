package enrol

import (
	"fmt"
	"strings"

	"tongban/node/join"
)

// Reasons of refusal, besides join.Unavailable and join.Internal.
const (
	BadToken      join.Reason = "enrol_bad_token"
	TokenUnknown  join.Reason = "enrol_token_unknown"
	TokenUsed     join.Reason = "enrol_token_used"
	TokenExpired  join.Reason = "enrol_token_expired"
	OtherDivision join.Reason = "enrol_other_division"
	Forged        join.Reason = "enrol_forged"
	OtherKey      join.Reason = "enrol_other_key"
	OtherParent   join.Reason = "enrol_other_parent"
	NotBelow      join.Reason = "enrol_not_below"
	Nearer        join.Reason = "enrol_nearer"
	NoChild       join.Reason = "enrol_no_child"
	NoParent      join.Reason = "enrol_no_parent"
	BadAnswer     join.Reason = "enrol_bad_answer"
	BadFile       join.Reason = "enrol_bad_file"
	NotAsked      join.Reason = "enrol_not_asked"
	Waiting       join.Reason = "enrol_waiting"
	OtherAsks     join.Reason = "enrol_other_asks"
	NotWaiting    join.Reason = "enrol_not_waiting"
	SeveralWait   join.Reason = "enrol_several_wait"
	Malformed     join.Reason = "enrol_malformed"
	Version       join.Reason = "enrol_version"
)

// Refuse makes a refusal whose detail is a sentence for the operator; args are those of the
// reason's verbs.
func Refuse(reason join.Reason, args ...any) *join.Refusal {
	text := map[join.Reason]string{
		BadToken:      "%s",
		TokenUnknown:  "the parent does not know this token; copy it again, or make a new one there with `tongban child token`",
		TokenUsed:     "this token was already used, and each is good for one enrolment; make a new one at the parent with `tongban child token`",
		TokenExpired:  "this token expired at %s; make a new one at the parent with `tongban child token`",
		OtherDivision: "this token is for %s, and this division is %s; make one for it at the parent with `tongban child token`",
		Forged:        "the request does not fit the token, or was altered on its way; copy the token again, or make a new one at the parent with `tongban child token`",
		OtherKey:      "%s is enrolled there already, with another authority; if it was set up anew after a loss, make a token at the parent with `tongban child token --replace`, else look who is the wrong one",
		OtherParent:   "this division is enrolled at %s already; to leave it for the parent of this token, add --move",
		NotBelow:      "%s is not below %s; make the token at a division above it",
		Nearer:        "%s is nearer to %s and enrolled here; make the token there",
		NoChild:       "%s is not enrolled here; see `tongban child list`",
		NoParent:      "this division has no parent; to get one, run `tongban enrol` with a token of it",
		BadAnswer:     "the parent's answer cannot be used: %s; nothing was changed; try again with a new token",
		BadFile:       "the file %s",
		NotAsked:      "this division did not ask for what the file answers, or too long ago; make the file of a request with `tongban enrol TOKEN --request-file FILE`",
		Waiting:       "%s waits for approval at the parent, with the key %s; have an administrator there compare that and run `tongban child approve`, then repeat the command",
		OtherAsks:     "somebody else came with this token first and waits, or was approved, with another key; tell the parent at once: if that is not this division, `tongban child refuse` there, and a new token",
		NotWaiting:    "%s does not wait for approval; see `tongban child list`",
		SeveralWait:   "%s waits with more than one key; ask that division for its own, and say it with --key",
		Malformed:     "the parent could not read the request; do both divisions run the same version of tongban?",
		Version:       "the parent enrols by another version of the protocol; install the version that its nodes run",
	}[reason]
	return &join.Refusal{Reason: reason, Detail: fmt.Sprintf(text, args...)}
}

// Print groups the fingerprint of a key, hexadecimal, for people to read and compare: its
// first 128 bits.
func Print(fingerprint string) string {
	var b strings.Builder
	for i, r := range fingerprint[:min(len(fingerprint), printDigits)] {
		if i > 0 && i%4 == 0 {
			b.WriteByte(' ')
		}
		b.WriteRune(r)
	}
	return b.String()
}

// printDigits of a fingerprint are shown.
const printDigits = 32
