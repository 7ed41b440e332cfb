package spec

import "time"

// Duration is a time.Duration written as Go writes it ("2s", "1m30s").
type Duration time.Duration

// String writes it as the config does.
func (d Duration) String() string { return time.Duration(d).String() }

func (d Duration) milliseconds() int64 { return time.Duration(d).Milliseconds() }
