package wire

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
)

// Type says what a frame carries.
type Type byte

// The frame types. Host to guest: Hello, Open, Data, EOF, Cancel. Guest to
// host: Stdout, Stderr, Result. The answer to Hello is not a frame, see Ack.
const (
	Hello  Type = 'H'
	Open   Type = 'O'
	Data   Type = 'D'
	EOF    Type = 'E'
	Cancel Type = 'C'
	Stdout Type = '1'
	Stderr Type = '2'
	Result Type = 'R'
)

// NonceLen is the length of a Hello's nonce.
const NonceLen = 16

// MaxPayload bounds a frame, so that a reader that lost its place in the stream
// finds out instead of swallowing the rest.
const MaxPayload = 64 << 10

const (
	frameMagic = 0xA7
	headerLen  = 1 + 1 + 4 + 4
)

var ackMagic = []byte("\x00LAB-SESSION\x00")

// Frame is one unit of the stream.
type Frame struct {
	Type    Type
	Stream  uint32
	Payload []byte
}

// Request is the payload of an Open frame.
type Request struct {
	Op string `json:"op"`

	// Op "exec".
	Script    string   `json:"script,omitempty"`
	Env       []string `json:"env,omitempty"`
	TimeoutMS int64    `json:"timeoutMS,omitempty"`

	// Op "put" and "get".
	Path string `json:"path,omitempty"`
	Mode uint32 `json:"mode,omitempty"`

	// Op "clock".
	UnixNano int64 `json:"unixNano,omitempty"`
}

// Response is the payload of a Result frame, the last one of a stream.
type Response struct {
	Code     int             `json:"code"`
	TimedOut bool            `json:"timedOut,omitempty"`
	Error    string          `json:"error,omitempty"`
	Value    json.RawMessage `json:"value,omitempty"`
}

// ErrSync is returned when the stream does not hold a frame where one must be.
var ErrSync = errors.New("lost synchronisation with the peer")

// ReadFrame reads the next frame.
func ReadFrame(r io.Reader) (Frame, error) {
	var h [headerLen]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return Frame{}, err
	}
	n := binary.LittleEndian.Uint32(h[6:])
	if h[0] != frameMagic || n > MaxPayload {
		return Frame{}, fmt.Errorf("frame header % x: %w", h, ErrSync)
	}
	f := Frame{Type: Type(h[1]), Stream: binary.LittleEndian.Uint32(h[2:]), Payload: make([]byte, n)}
	if _, err := io.ReadFull(r, f.Payload); err != nil {
		return Frame{}, err
	}
	return f, nil
}

// Writer writes whole frames; it may be used by many goroutines.
type Writer struct {
	mu sync.Mutex
	w  io.Writer
}

// NewWriter returns a Writer on w.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// Write writes one frame in one call of the underlying writer.
func (w *Writer) Write(t Type, stream uint32, payload []byte) error {
	if len(payload) > MaxPayload {
		return fmt.Errorf("payload of %d bytes is over the limit of %d", len(payload), MaxPayload)
	}
	b := make([]byte, 0, headerLen+len(payload))
	b = append(b, frameMagic, byte(t))
	b = binary.LittleEndian.AppendUint32(b, stream)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(payload)))
	return w.raw(append(b, payload...))
}

// JSON writes one frame whose payload is v as JSON.
func (w *Writer) JSON(t Type, stream uint32, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode frame: %w", err)
	}
	return w.Write(t, stream, b)
}

// Stream returns a writer that sends everything as frames of one type.
func (w *Writer) Stream(t Type, stream uint32) io.Writer { return &streamWriter{w, t, stream} }

// Ack answers a Hello.
func (w *Writer) Ack(nonce []byte) error {
	return w.raw(append(bytes.Clone(ackMagic), nonce...))
}

func (w *Writer) raw(b []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, err := w.w.Write(b)
	return err
}

type streamWriter struct {
	w      *Writer
	t      Type
	stream uint32
}

func (s *streamWriter) Write(p []byte) (int, error) {
	n := 0
	for len(p) > 0 {
		c := p[:min(len(p), MaxPayload)]
		if err := s.w.Write(s.t, s.stream, c); err != nil {
			return n, err
		}
		n += len(c)
		p = p[len(c):]
	}
	return n, nil
}

// AwaitAck drops bytes until the answer to the Hello with this nonce was read.
func AwaitAck(r *bufio.Reader, nonce []byte) error {
	want := append(bytes.Clone(ackMagic), nonce...)
	window := make([]byte, 0, len(want))
	for {
		b, err := r.ReadByte()
		if err != nil {
			return err
		}
		if len(window) == len(want) {
			window = append(window[:0], window[1:]...)
		}
		window = append(window, b)
		if bytes.Equal(window, want) {
			return nil
		}
	}
}
