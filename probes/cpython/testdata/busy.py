"""Calls, grows and shrinks things without a pause, until stdin is closed."""
import collections
import json
import select
import sys

queue = collections.deque(range(200))
table = {}


def leaf(n):
    queue.append(n)
    queue.popleft()
    table["key %d" % (n % 5000)] = n
    if len(table) > 3000:
        table.clear()
    return n


def branch(n):
    return sum(leaf(n + i) for i in range(20))


def run_busy_loop():
    rounds = 0
    while rounds % 500 or not select.select([sys.stdin], [], [], 0)[0]:
        rounds += 1
        branch(rounds)


print(json.dumps({"queue": id(queue), "table": id(table)}), flush=True)
run_busy_loop()
