// Truth compares a session that pmtrace wrote with the server's own word, and
// prints a table: what was checked, what the server says, what pmtrace says,
// how many differences, and the first of them. It ends with 1 where anything
// differs.
//
//	truth --session DIR [--log SERVER.log [--log-from BYTES]] [--load LOAD.jsonl]...
//	      [--before A.json --after B.json] [--fresh] [--midload]
//	      [--cut] [--killed] [--lossy] [--async] [--engines N] [--summary FILE --name NAME]
//
// The words: the iteration log (--enable-logging-iteration-details), what the
// clients got (e2e/load/load.py), and /metrics (e2e/load/metrics.py scrape).
// Beside that the tables are compared among themselves, which needs no words.
//
//	from-start  the default: the server was idle when tracing began and when it
//	            ended, so everything must be there
//	--midload   requests ran when tracing began: everything from the first step
//	            seen must be exact, and what is from before must say so
//	--cut       requests ran when tracing ended
//	--killed    the server was killed: its log may lack the last step, too
//	--fresh     no block was ever handed out before tracing began: the births of
//	            all blocks are known, and evictions must be equal
//	--lossy     events were lost: what is there must be right or null, and what
//	            is missing must be counted
//	--async     the scheduler is one that schedules ahead
//	--engines N the server is data parallel, and has so many
//
// Where vLLM's own definition of a number differs from the obvious one, or
// between versions, the check follows vLLM's source and says so beside it.
package main
