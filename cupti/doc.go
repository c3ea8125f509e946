// Package cupti reads what the library of package inject tells from inside recorded
// processes: rings in files, one a process, which are taken for hostile.
package cupti
