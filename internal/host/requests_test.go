package host

import (
	"slices"
	"testing"
)

// What is built in is asked for by the name of its module, whatever sysfs tells.
func TestDeviceRequests(t *testing.T) {
	for _, tt := range []struct {
		device   Device
		name     string // "" for no request
		unlisted bool
	}{
		{Device{Driver: "ahci", Module: "ahci", Loadable: true}, "ahci", false},
		{Device{Driver: "usb", Modalias: "usb:v1D6Bp0003d0601dc09dsc00dp03"}, "usbcore", true},
		{Device{Driver: "usb", Module: "usbcore"}, "usbcore", true},
		{Device{Driver: "sd", Modalias: "scsi:t-0x00"}, "sd_mod", true},
		{Device{Driver: "xhci_hcd"}, "xhci_pci", true},
		{Device{Driver: "xhci-hcd"}, "xhci-hcd", true},
		{Device{Modalias: "pci:v00008086d00002922sv00001AF4sd00001100bc01sc06i01"}, "", false},
		{Device{Driver: "pcieport", Modalias: "pci:v00001B36d0000000Csv00000000sd00000000bc06sc04i00"}, "", false},
	} {
		got := deviceRequests([]Device{tt.device})
		if tt.name == "" && len(got) == 0 {
			continue
		}
		if len(got) != 1 || !slices.Equal(got[0].Names, []string{tt.name}) || got[0].Unlisted != tt.unlisted || got[0].Optional {
			t.Errorf("%+v: %+v", tt.device, got)
		}
	}
}
