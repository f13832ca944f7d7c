package enrol

import (
	"encoding/json"
	"errors"
	"fmt"

	"tongban/division"
)

// Kind is which half of an enrolment a file is.
type Kind string

// Kinds.
const (
	RequestFile Kind = "enrolment-request" // From the child to the parent.
	ReplyFile   Kind = "enrolment-reply"   // Back.
)

// MaxFile bounds a file, bytes.
const MaxFile = 128 << 10

// File carries a document where there is no line. It has no secret: who reads it learns
// names and certificates, who alters it is found. What is said beside the document is for
// people, and for telling them what they took for what.
type File struct {
	Kind     Kind         `json:"tongban"`
	Child    division.Ref `json:"child"`
	Parent   division.Ref `json:"parent"`
	Document Document     `json:"document"`
}

// Encode writes the file, indented: people look into it.
func (f File) Encode() ([]byte, error) {
	data, err := json.MarshalIndent(f, "", "  ")
	return append(data, '\n'), err
}

// DecodeFile reads a file of the kind. Its errors are one sentence for the operator.
func DecodeFile(data []byte, want Kind) (File, error) {
	var f File
	if len(data) > MaxFile {
		return f, fmt.Errorf("it has more than %d bytes, and is no file of an enrolment", MaxFile)
	}
	if err := json.Unmarshal(data, &f); err != nil || f.Kind != RequestFile && f.Kind != ReplyFile {
		return f, errors.New("it is no file of an enrolment, or was cut off; copy it again")
	}
	switch {
	case f.Kind == want:
		return f, nil
	case want == RequestFile:
		return f, errors.New("it is the reply of a parent; use it at the child with `tongban enrol --reply-file`")
	}
	return f, errors.New("it is the request of a child; answer it at the parent with `tongban child answer`")
}
