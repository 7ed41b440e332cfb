package wire

import (
	"bufio"
	"bytes"
	"errors"
	"strings"
	"testing"
)

func TestFramesComeBackWhole(t *testing.T) {
	var buf bytes.Buffer
	w := NewWriter(&buf)
	big := strings.Repeat("x", MaxPayload+5)
	if _, err := w.Stream(Stdout, 7).Write([]byte(big)); err != nil {
		t.Fatal(err)
	}
	if err := w.JSON(Result, 7, Response{Code: 3}); err != nil {
		t.Fatal(err)
	}
	got := ""
	for {
		f, err := ReadFrame(&buf)
		if err != nil {
			t.Fatal(err)
		}
		if f.Stream != 7 {
			t.Fatalf("stream %d", f.Stream)
		}
		if f.Type == Result {
			if string(f.Payload) != `{"code":3}` {
				t.Fatalf("result %s", f.Payload)
			}
			break
		}
		got += string(f.Payload)
	}
	if got != big {
		t.Fatalf("%d bytes came back of %d", len(got), len(big))
	}
}

func TestGarbageIsNotAFrame(t *testing.T) {
	if _, err := ReadFrame(strings.NewReader(strings.Repeat("garbage", 10))); !errors.Is(err, ErrSync) {
		t.Fatalf("got %v", err)
	}
}

func TestAckIsFoundBehindLeftovers(t *testing.T) {
	nonce := []byte("0123456789abcdef")
	var buf bytes.Buffer
	buf.WriteString("left over \x00LAB-SESS\x00\x00LAB-SESSION\x00another nonce 16")
	w := NewWriter(&buf)
	if err := w.Ack(nonce); err != nil {
		t.Fatal(err)
	}
	buf.WriteString("rest")
	r := bufio.NewReader(&buf)
	if err := AwaitAck(r, nonce); err != nil {
		t.Fatal(err)
	}
	rest, _ := r.Peek(4)
	if string(rest) != "rest" {
		t.Fatalf("left %q", rest)
	}
}
