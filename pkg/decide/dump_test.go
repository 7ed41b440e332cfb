package decide_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// dump is all that the values are, through pointers and with what is not exported, one
// field a line.
func dump(values ...any) string {
	var b strings.Builder
	for _, v := range values {
		write(&b, "", reflect.ValueOf(v))
	}
	return b.String()
}

func write(b *strings.Builder, path string, v reflect.Value) {
	switch v.Kind() {
	case reflect.Invalid:
		fmt.Fprintln(b, path, "nil")
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			fmt.Fprintln(b, path, "nil")
			return
		}
		write(b, path+"*", v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			write(b, path+"."+v.Type().Field(i).Name, v.Field(i))
		}
	case reflect.Map:
		fmt.Fprintln(b, path, v.Len(), v.IsNil())
		writeMap(b, path, v)
	case reflect.Slice, reflect.Array:
		fmt.Fprintln(b, path, v.Len())
		for i := range v.Len() {
			write(b, fmt.Sprintf("%s[%d]", path, i), v.Index(i))
		}
	case reflect.Func, reflect.Chan, reflect.UnsafePointer:
		fmt.Fprintln(b, path, v.Kind())
	default:
		fmt.Fprintln(b, path, v)
	}
}

func writeMap(b *strings.Builder, path string, v reflect.Value) {
	var out []string
	for it := v.MapRange(); it.Next(); {
		var key, one strings.Builder
		write(&key, "", it.Key())
		write(&one, path+"["+strings.TrimSpace(strings.ReplaceAll(key.String(), "\n", ","))+"]", it.Value())
		out = append(out, one.String())
	}
	slices.Sort(out)
	b.WriteString(strings.Join(out, ""))
}
