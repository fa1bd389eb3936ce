package host

import "time"

// AppearLimit is how long a raw device is awaited that appears in the course of a
// boot; AppearInterval is the pause between two looks.
const (
	AppearLimit    = 20 * time.Second
	AppearInterval = 200 * time.Millisecond
)
