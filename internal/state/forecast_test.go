package state

import "testing"

func TestForecastWords(t *testing.T) {
	for _, tt := range []struct {
		f    *Forecast
		want string
	}{
		{nil, "a b"},
		{&Forecast{Release: "6.1", Problem: "x"}, "a b"},
		{&Forecast{Bytes: 1}, "a b"},
		{&Forecast{Release: "6.1 init=/bin/sh", Bytes: 1}, "a b"},
		{&Forecast{Release: "6.1.0-50-amd64", Bytes: 123456789012}, "ukdump.expect=137438953472 ukdump.known=6.1.0-50-amd64 a b"},
	} {
		if got := tt.f.AddTo("a b"); got != tt.want {
			t.Errorf("%+v: got %q, want %q", tt.f, got, tt.want)
		}
	}
}
