package replication

import (
	"database/sql"
	"database/sql/driver"
	"fmt"
	"math"
	"reflect"
	"time"
)

// normalize turns a caller's values into the five that SQLite stores: nil, int64,
// float64, string and []byte. A bool is 0 or 1, a time.Time its Unix microseconds.
func normalize(args []any) ([]any, error) {
	out := make([]any, len(args))
	for i, a := range args {
		v, err := normalizeOne(a)
		if err != nil {
			return nil, fmt.Errorf("parameter %d: %w", i+1, err)
		}
		out[i] = v
	}
	return out, nil
}

func normalizeOne(a any) (any, error) {
	switch v := a.(type) {
	case Named:
		inner, err := normalizeOne(v.Value)
		return Named{v.Name, inner}, err
	case nil, int64, string:
		return v, nil
	case int:
		return int64(v), nil
	case bool:
		if v {
			return int64(1), nil
		}
		return int64(0), nil
	case time.Time:
		return v.UnixMicro(), nil
	case []byte:
		if v == nil {
			return nil, nil
		}
		return v, nil
	case float64:
		if math.IsNaN(v) {
			return nil, fmt.Errorf("NaN cannot be stored")
		}
		return v, nil
	case driver.Valuer:
		if p := reflect.ValueOf(a); p.Kind() == reflect.Pointer && p.IsNil() {
			return nil, nil
		}
		inner, err := v.Value()
		if err != nil {
			return nil, err
		}
		return normalizeOne(inner)
	}
	return normalizeKind(reflect.ValueOf(a))
}

// normalizeKind serves named types, pointers and the other sizes of integer.
func normalizeKind(v reflect.Value) (any, error) {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return nil, nil
		}
		return normalizeOne(v.Elem().Interface())
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return v.Int(), nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		if v.Uint() > math.MaxInt64 {
			return nil, fmt.Errorf("%d is larger than SQLite's integers", v.Uint())
		}
		return int64(v.Uint()), nil
	case reflect.Float32, reflect.Float64:
		return normalizeOne(v.Float())
	case reflect.String:
		return v.String(), nil
	case reflect.Bool:
		return normalizeOne(v.Bool())
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return normalizeOne(v.Bytes())
		}
	}
	return nil, fmt.Errorf("a value of type %s cannot be stored", v.Type())
}

// assign copies a column into what dest points to.
func assign(dest, v any) error {
	switch d := dest.(type) {
	case *any:
		*d = v
		return nil
	case sql.Scanner:
		return d.Scan(v)
	case *time.Time:
		t, err := asTime(v)
		if err == nil {
			*d = t
		}
		return err
	case *[]byte:
		switch v := v.(type) {
		case nil:
			*d = nil
			return nil
		case []byte:
			*d = v
			return nil
		case string:
			*d = []byte(v)
			return nil
		}
	case *string:
		if s, ok := v.(string); ok {
			*d = s
			return nil
		}
	case *int64:
		if n, ok := v.(int64); ok {
			*d = n
			return nil
		}
	}
	p := reflect.ValueOf(dest)
	if p.Kind() != reflect.Pointer || p.IsNil() {
		return fmt.Errorf("the destination is a %T, not a pointer", dest)
	}
	return assignKind(p.Elem(), v)
}

// asTime reads Unix microseconds, or text of RFC 3339, as UTC.
func asTime(v any) (time.Time, error) {
	switch v := v.(type) {
	case int64:
		return time.UnixMicro(v).UTC(), nil
	case string:
		t, err := time.Parse(time.RFC3339Nano, v)
		return t.UTC(), err
	}
	return time.Time{}, fmt.Errorf("a %s is no time", kindName(v))
}

func assignKind(d reflect.Value, v any) error {
	if d.Kind() == reflect.Pointer { // NULL is nil.
		if v == nil {
			d.SetZero()
			return nil
		}
		p := reflect.New(d.Type().Elem())
		if err := assign(p.Interface(), v); err != nil {
			return err
		}
		d.Set(p)
		return nil
	}
	switch x := v.(type) {
	case int64:
		return assignInt(d, x)
	case float64:
		if d.CanFloat() {
			d.SetFloat(x)
			return nil
		}
	case string:
		return assignText(d, []byte(x), x)
	case []byte:
		return assignText(d, x, "")
	}
	return fmt.Errorf("a %s does not fit a %s", kindName(v), d.Type())
}

func assignText(d reflect.Value, b []byte, s string) error {
	switch {
	case d.Kind() == reflect.String:
		if s == "" {
			s = string(b)
		}
		d.SetString(s)
		return nil
	case d.Kind() == reflect.Slice && d.Type().Elem().Kind() == reflect.Uint8:
		d.SetBytes(b)
		return nil
	}
	return fmt.Errorf("a text or blob does not fit a %s", d.Type())
}

func assignInt(d reflect.Value, n int64) error {
	switch {
	case d.CanInt() && !d.OverflowInt(n):
		d.SetInt(n)
	case d.CanUint() && n >= 0 && !d.OverflowUint(uint64(n)):
		d.SetUint(uint64(n))
	case d.CanFloat():
		d.SetFloat(float64(n))
	case d.Kind() == reflect.Bool:
		d.SetBool(n != 0)
	case d.Kind() == reflect.String:
		d.SetString(fmt.Sprint(n))
	default:
		return fmt.Errorf("the integer %d does not fit a %s", n, d.Type())
	}
	return nil
}

func kindName(v any) string {
	switch v.(type) {
	case nil:
		return "NULL"
	case int64:
		return "integer"
	case float64:
		return "real"
	case string:
		return "text"
	}
	return "blob"
}
