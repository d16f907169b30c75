package chaos

import (
	"bytes"
	"fmt"
)

// plot draws the samples as SVG: a panel for each quantity, over time, each from 0.
func plot(all []sample) []byte {
	const width, height, left, top = 900.0, 150.0, 70.0, 30.0
	panels := []struct {
		name string
		of   func(sample) float64
	}{
		{"heap, MiB", func(p sample) float64 { return p.heap }},
		{"resident memory, MiB", func(p sample) float64 { return p.rss }},
		{"goroutines", func(p sample) float64 { return p.goroutines }},
		{"descriptors", func(p sample) float64 { return p.files }},
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%.0f" height="%.0f" font-family="sans-serif" font-size="12">`+"\n",
		left+width+20, float64(len(panels))*(height+top+20))
	b.WriteString(`<rect width="100%" height="100%" fill="white"/>` + "\n")
	end := 1.0
	for _, p := range all {
		end = max(end, p.at.Seconds())
	}
	for i, panel := range panels {
		y0 := float64(i)*(height+top+20) + top
		most := 1.0
		for _, p := range all {
			most = max(most, panel.of(p))
		}
		x := func(p sample) float64 { return left + p.at.Seconds()/end*width }
		y := func(p sample) float64 { return y0 + height - panel.of(p)/most*height }
		fmt.Fprintf(&b, `<text x="%.0f" y="%.0f">%s</text><text x="%.0f" y="%.0f" text-anchor="end">%.0f</text><text x="%.0f" y="%.0f" text-anchor="end">0</text>`+"\n",
			left, y0-8, panel.name, left-6, y0+10, most, left-6, y0+height)
		fmt.Fprintf(&b, `<text x="%.0f" y="%.0f" text-anchor="end">%.0f s; dots: after settling</text>`+"\n", left+width, y0+height+14, end)
		fmt.Fprintf(&b, `<path d="M%.0f %.0fv%.0fh%.0f" fill="none" stroke="black"/>`+"\n", left, y0, height, width)
		b.WriteString(`<polyline fill="none" stroke="steelblue" points="`)
		for _, p := range all {
			fmt.Fprintf(&b, "%.1f,%.1f ", x(p), y(p))
		}
		b.WriteString(`"/>` + "\n")
		for _, p := range all {
			if p.calm {
				fmt.Fprintf(&b, `<circle cx="%.1f" cy="%.1f" r="2" fill="darkred"/>`+"\n", x(p), y(p))
			}
		}
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}
