// Package page makes a session into one HTML file that needs nothing else: summary,
// findings, and charts of what happened when. It reads the tables (Build), and writes
// the page (Page.Write); Server hands out the page and the rows of any stretch of time.
//
// What the page holds is bounded, however long the session was: time is cut into a few
// thousand buckets of equal length (grid), each with sums, counts and extremes; latencies
// are counted in bins; and the steps themselves are there where something is to be seen,
// by the findings and the slowest requests (moments, windows).
package page
