package rebind

import "encoding/json"

// This file holds how values of a kind are made into payloads, and payloads into values.

// Codec turns values into payloads and back. Its methods may be called from any
// goroutine, several at a time.
type Codec[T any] interface {
	// ContentType is the media type of what Encode returns.
	ContentType() string
	Encode(value T) ([]byte, error)
	// Decode must not keep or change the payload.
	Decode(payload []byte) (T, error)
}

// jsonCodec is encoding/json, with its tags and methods.
type jsonCodec[T any] struct{}

// ContentType is that of JSON.
func (jsonCodec[T]) ContentType() string { return "application/json" }

// Encode is json.Marshal.
func (jsonCodec[T]) Encode(value T) ([]byte, error) { return json.Marshal(value) }

// Decode is json.Unmarshal: fields that T does not have are ignored, so that an older
// program can read what a newer one has stored under the same schema.
func (jsonCodec[T]) Decode(payload []byte) (value T, err error) {
	return value, json.Unmarshal(payload, &value)
}
