package scheduler

// Share divides a rate among those who want so much each, and puts what each gets
// in the place of what it wants: who wants little has that, and the others the same
// as each other (max-min fairness, Bertsekas and Gallager, Data Networks, 6.5.2).
// Where all have what they want the rest goes to them in proportion.
func Share(rate BitRate, wants []BitRate) {
	var level BitRate
	for range len(wants) + 1 { // each round but the last contents one more
		left, short := rate, 0
		for _, w := range wants {
			if w <= level {
				left -= w
			} else {
				short++
			}
		}
		if short == 0 {
			break
		}
		next := left / BitRate(short)
		if next <= level {
			break
		}
		level = next
	}
	var sum BitRate
	for i, w := range wants {
		wants[i] = min(w, level)
		sum += wants[i]
	}
	if sum > 0 && sum < rate {
		for i := range wants {
			wants[i] *= rate / sum
		}
	}
}
