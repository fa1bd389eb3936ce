// Charts draws the two bar charts in the README from the results of "make bench".
//
// Synopsis:
//
//	cd test/charts && go run . RESULTS DIR
//
// It writes chart-image.svg and chart-memory.svg to DIR. It is a module of its
// own, so that the plotting library is no dependency of ukdump.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"image/color"
	"os"
	"path/filepath"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "charts:", err)
		os.Exit(1)
	}
}

// row is the part of a measurement that is drawn; test/bench writes more.
type row struct {
	Name     string `json:"name"`
	Packed   int64  `json:"packed_bytes"`
	Smallest int    `json:"smallest_mib"`
}

// chart is one picture: a bar for each tool and kernel.
type chart struct {
	file, title, axis string
	value             func(row) float64
	format            string  // of the number beside a bar
	step              float64 // of the axis
}

var charts = []chart{
	{"chart-image.svg", "Size of the initramfs", "size of the file in MB (1,000,000 bytes)",
		func(r row) float64 { return float64(r.Packed) / 1e6 }, "%.1f", 10},
	{"chart-memory.svg", "Smallest crashkernel= that captured a crash", "crashkernel= in MiB",
		func(r row) float64 { return float64(r.Smallest) }, "%.0f", 64},
}

// kernel is a Debian kernel. Its bars have their own shade, for ukdump and for
// the others.
type kernel struct {
	name, title    string
	ukdump, others color.Color
}

var kernels = []kernel{
	{"generic", "generic kernel", rgb(0x0969da), rgb(0x6e7781)},
	{"cloud", "cloud kernel", rgb(0x80ccff), rgb(0xc4cad1)},
}

func rgb(hex uint32) color.Color {
	return color.RGBA{uint8(hex >> 16), uint8(hex >> 8), uint8(hex), 255}
}

// Measures of a chart.
const (
	width, height = 16 * vg.Centimeter, 8 * vg.Centimeter
	bar           = 0.38 * vg.Centimeter
	room          = 1.12              // of the axis, for the number beside the longest bar
	legend        = 7 * vg.Centimeter // from the axis
	margin        = 6
	space         = 16 // beside the names: the reader's font may be wider
)

func run(args []string) error {
	if len(args) != 2 {
		return errors.New("usage: go run . RESULTS DIR")
	}
	b, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	var results struct {
		Kernels map[string][]row `json:"kernels"`
	}
	if err := json.Unmarshal(b, &results); err != nil {
		return fmt.Errorf("%s: %w", args[0], err)
	}
	for _, c := range charts {
		svg, err := c.draw(results.Kernels)
		if err != nil {
			return fmt.Errorf("%s: %w", c.file, err)
		}
		if err := os.WriteFile(filepath.Join(args[1], c.file), svg, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// draw returns the chart as SVG. The first tool is at the top.
func (c chart) draw(results map[string][]row) ([]byte, error) {
	plot.DefaultFont = font.Font{Typeface: "Liberation", Variant: "Sans"}
	plotter.DefaultFont = plot.DefaultFont
	p := plot.New()
	p.BackgroundColor = color.White
	p.Title.Text, p.X.Label.Text = c.title, c.axis
	p.Title.TextStyle.Font.Size, p.X.Label.TextStyle.Font.Size = 12, 10
	p.X.Tick.Label.Font.Size, p.Y.Tick.Label.Font.Size, p.Legend.TextStyle.Font.Size = 9, 9, 9
	p.Title.Padding = 6
	p.X.Min = 0
	// Beside the short bars of ukdump, which is first.
	p.Legend.Top, p.Legend.Left, p.Legend.XOffs, p.Legend.ThumbnailWidth = true, true, legend, 12
	p.Legend.Padding = 3

	tools := len(results[kernels[0].name])
	names := make([]string, tools)
	for k, kernel := range kernels {
		rows := slices.Clone(results[kernel.name])
		if len(rows) == 0 || len(rows) != tools {
			return nil, fmt.Errorf("%s kernel: %d results", kernel.name, len(rows))
		}
		slices.Reverse(rows)
		offset := bar/2 - vg.Length(k)*bar
		for i, r := range rows {
			names[i] = r.Name
			if err := c.add(p, i, offset, r, kernel); err != nil {
				return nil, err
			}
		}
		swatch, err := plotter.NewBarChart(plotter.Values{0}, bar)
		if err != nil {
			return nil, err
		}
		swatch.Color, swatch.LineStyle.Width = kernel.others, 0
		p.Legend.Add(kernel.title, swatch)
	}
	p.NominalY(names...)
	p.Y.Padding = space
	p.X.Max *= room
	p.X.Tick.Marker = plot.TickerFunc(func(_, high float64) []plot.Tick {
		var ticks []plot.Tick
		for x := 0.0; x <= high; x += c.step {
			ticks = append(ticks, plot.Tick{Value: x, Label: fmt.Sprint(x)})
		}
		return ticks
	})

	canvas := vgsvg.New(width, height)
	p.Draw(draw.Crop(draw.New(canvas), margin, -margin, margin, -margin))
	var b bytes.Buffer
	if _, err := canvas.WriteTo(&b); err != nil {
		return nil, err
	}
	// Few readers have the fonts of the library.
	return bytes.ReplaceAll(b.Bytes(), []byte("font-family:Liberation Sans;"),
		[]byte("font-family:Liberation Sans,Arial,Helvetica,sans-serif;")), nil
}

// add draws one bar with its number.
func (c chart) add(p *plot.Plot, place int, offset vg.Length, r row, k kernel) error {
	value := c.value(r)
	b, err := plotter.NewBarChart(plotter.Values{value}, bar)
	if err != nil {
		return err
	}
	b.Horizontal, b.XMin, b.Offset = true, float64(place), offset
	b.LineStyle.Width, b.Color = 0, k.others
	if r.Name == "ukdump" {
		b.Color = k.ukdump
	}
	number, err := plotter.NewLabels(plotter.XYLabels{
		XYs:    plotter.XYs{{X: value, Y: float64(place)}},
		Labels: []string{fmt.Sprintf(c.format, value)},
	})
	if err != nil {
		return err
	}
	number.Offset = vg.Point{X: 3, Y: offset}
	number.TextStyle[0].YAlign = text.YCenter
	number.TextStyle[0].Font.Size = 8
	if r.Name == "ukdump" {
		number.TextStyle[0].Font.Weight = 2 // bold
	}
	p.Add(b, number)
	return nil
}
