package catalog

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// line is one physical line without its end.
type line struct {
	number  int
	text    []byte
	tooLong bool // text is its beginning.
}

// lineReader reads physical lines in bounded memory and lets some be read again.
type lineReader struct {
	r      *bufio.Reader
	number int
	ahead  []line // Read already, to be given next.
}

// next returns the next line, or io.EOF after the last.
func (l *lineReader) next() (line, error) {
	if len(l.ahead) > 0 {
		first := l.ahead[0]
		l.ahead = l.ahead[1:]
		return first, nil
	}
	return l.fresh()
}

func (l *lineReader) fresh() (line, error) {
	text, err := l.r.ReadSlice('\n')
	if len(text) == 0 && err != nil {
		return line{}, err
	}
	l.number++
	out := line{number: l.number, text: bytes.TrimRight(bytes.Clone(text), "\r\n")}
	for errors.Is(err, bufio.ErrBufferFull) {
		out.tooLong = true
		_, err = l.r.ReadSlice('\n')
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return line{}, err
	}
	return out, nil
}

// joinQuoted returns text with the following lines as far as they belong to a field whose
// quote is open. A quote that stays open for maxQuoted lines or MaxRow bytes, or to the
// end of the file, is taken as a slip: the text is returned alone.
func (l *lineReader) joinQuoted(text []byte) []byte {
	if !quoteOpen(text) {
		return text
	}
	joined := bytes.Clone(text)
	var taken []line
	for range maxQuoted {
		more, err := l.next()
		if err != nil {
			break
		}
		taken = append(taken, more)
		if more.tooLong || len(joined)+len(more.text) > MaxRow {
			break
		}
		joined = append(append(joined, '\n'), more.text...)
		if !quoteOpen(joined) {
			return joined
		}
	}
	l.ahead = append(taken, l.ahead...)
	return text
}

// quoteOpen reports whether the text ends inside a quoted field: a field that begins with
// a quotation mark which has no partner.
func quoteOpen(text []byte) bool {
	open, start := false, true
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case open && c == '"' && i+1 < len(text) && text[i+1] == '"':
			i++
		case open && c == '"':
			open = false
		case !open && start && c == '"':
			open = true
		}
		start = !open && (text[i] == ',' || text[i] == '\n')
	}
	return open
}
