package compare

import "math"

// quantile975 is the 97.5 % quantile of Student's t: what a 95 % interval is wide by.
func quantile975(degrees float64) float64 {
	low, high := 1.9, 13.0
	for range 60 {
		middle := (low + high) / 2
		if studentTail(middle, degrees) > 0.025 {
			low = middle
		} else {
			high = middle
		}
	}
	return high
}

// studentTail is the probability of a t of more than t, which is above 0.
func studentTail(t, degrees float64) float64 {
	return incompleteBeta(degrees/2, 0.5, degrees/(degrees+t*t)) / 2
}

// incompleteBeta is the regularised incomplete beta function, by its continued
// fraction (Lentz; DLMF 8.17.22).
func incompleteBeta(a, b, x float64) float64 {
	if x > (a+1)/(a+b+2) {
		return 1 - incompleteBeta(b, a, 1-x)
	}
	la, _ := math.Lgamma(a)
	lb, _ := math.Lgamma(b)
	lab, _ := math.Lgamma(a + b)
	front := math.Exp(lab-la-lb+a*math.Log(x)+b*math.Log1p(-x)) / a
	c, d := 1.0, 1/(1-(a+b)*x/(a+1))
	f := d
	for m := 1.0; m < 300; m++ {
		even := m * (b - m) * x / ((a + 2*m - 1) * (a + 2*m))
		d = 1 / (1 + even*d)
		c = 1 + even/c
		f *= c * d
		odd := -(a + m) * (a + b + m) * x / ((a + 2*m) * (a + 2*m + 1))
		d = 1 / (1 + odd*d)
		c = 1 + odd/c
		f *= c * d
		if math.Abs(c*d-1) < 1e-14 {
			break
		}
	}
	return front * f
}
