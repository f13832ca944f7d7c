package enrol_test

import (
	"strings"
	"testing"

	"tongban/node/enrol"
)

func TestFilesOfAnotherKindAreTold(t *testing.T) {
	text := func(k enrol.Kind) string {
		data, err := enrol.File{Kind: k, Child: county, Parent: city}.Encode()
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	for name, c := range map[string]struct {
		text string
		kind enrol.Kind
		want string
	}{
		"the reply at the parent":  {text(enrol.ReplyFile), enrol.RequestFile, "tongban enrol --reply-file"},
		"the request at the child": {text(enrol.RequestFile), enrol.ReplyFile, "tongban child answer"},
		"a file that was cut off":  {text(enrol.RequestFile)[:90], enrol.RequestFile, "copy it again"},
		"another file":             {`{"code": 511602}`, enrol.RequestFile, "no file of an enrolment"},
		"a picture":                {strings.Repeat("\x00", enrol.MaxFile+1), enrol.ReplyFile, "more than"},
		"nothing":                  {"", enrol.ReplyFile, "copy it again"},
	} {
		if _, err := enrol.DecodeFile([]byte(c.text), c.kind); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if f, err := enrol.DecodeFile([]byte(text(enrol.ReplyFile)), enrol.ReplyFile); err != nil || f.Child != county {
		t.Errorf("%+v, %v", f, err)
	}
}
