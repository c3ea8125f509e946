from dataclasses import dataclass


@dataclass(slots=True)
class KVCacheBlock:
    block_id: int
    ref_cnt: int = 0
    _block_hash: bytes | None = None
    prev_free_block: "KVCacheBlock | None" = None
    next_free_block: "KVCacheBlock | None" = None
    is_null: bool = False


class FreeKVCacheBlockQueue:
    """A doubly linked list of free blocks. The counter is written where vLLM
    writes it: before unlinking in popleft_n, after linking elsewhere."""

    def __init__(self, blocks):
        self.num_free_blocks = len(blocks)
        self.fake_free_list_head = KVCacheBlock(block_id=-1)
        self.fake_free_list_tail = KVCacheBlock(block_id=-1)
        chain = [self.fake_free_list_head, *blocks, self.fake_free_list_tail]
        for left, right in zip(chain, chain[1:]):
            left.next_free_block = right
            right.prev_free_block = left

    def popleft(self):
        block = self.fake_free_list_head.next_free_block
        self._unlink(block)
        self.num_free_blocks -= 1
        return block

    def popleft_n(self, n):
        if n == 0:
            return []
        self.num_free_blocks -= n
        taken = []
        for _ in range(n):
            block = self.fake_free_list_head.next_free_block
            self._unlink(block)
            taken.append(block)
        return taken

    def remove(self, block):
        self._unlink(block)
        self.num_free_blocks -= 1

    def append_n(self, blocks):
        if not blocks:
            return
        for block in blocks:
            self._link(self.fake_free_list_tail.prev_free_block, block)
        self.num_free_blocks += len(blocks)

    def append(self, block):
        self._link(self.fake_free_list_tail.prev_free_block, block)
        self.num_free_blocks += 1

    def prepend_n(self, blocks):
        if not blocks:
            return
        after = self.fake_free_list_head
        for block in blocks:
            self._link(after, block)
            after = block
        self.num_free_blocks += len(blocks)

    @staticmethod
    def _unlink(block):
        block.prev_free_block.next_free_block = block.next_free_block
        block.next_free_block.prev_free_block = block.prev_free_block
        block.prev_free_block = block.next_free_block = None

    @staticmethod
    def _link(after, block):
        block.next_free_block = after.next_free_block
        block.prev_free_block = after
        after.next_free_block.prev_free_block = block
        after.next_free_block = block
