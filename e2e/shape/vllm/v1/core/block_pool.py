import time

from vllm.v1.core.kv_cache_utils import FreeKVCacheBlockQueue, KVCacheBlock


class BlockPool:
    def __init__(self, num_gpu_blocks, enable_caching, truth):
        self.num_gpu_blocks = num_gpu_blocks
        self.enable_caching = enable_caching
        self.blocks = [KVCacheBlock(i) for i in range(num_gpu_blocks)]
        self.free_block_queue = FreeKVCacheBlockQueue(self.blocks)
        self.cached_block_hash_to_block = {}
        self.null_block = self.free_block_queue.popleft()
        self.null_block.is_null = True
        self.truth = truth
        self.lives = {}  # block id -> [birth, last access]

    def get_new_blocks(self, n):
        blocks = self.free_block_queue.popleft_n(n)
        for block in blocks:
            self._maybe_evict_cached_block(block)
            block.ref_cnt += 1
            now = time.monotonic()
            self.lives[block.block_id] = [now, now]
        if n:
            self.truth.kv("alloc", n)
        return blocks

    def _maybe_evict_cached_block(self, block):
        if not self.enable_caching:
            return
        life = self.lives.pop(block.block_id, None)
        if life:
            now = time.monotonic()
            self.truth.eviction(block.block_id, now - life[0], now - life[1], block._block_hash is not None)
        if block._block_hash is not None:
            self.cached_block_hash_to_block.pop(block._block_hash, None)
            block._block_hash = None

    def touch(self, blocks):
        for block in blocks:
            if block.ref_cnt == 0:
                self.free_block_queue.remove(block)
                self.truth.kv("reuse", 1)
            block.ref_cnt += 1
            if block.block_id in self.lives:
                self.lives[block.block_id][1] = time.monotonic()

    def free_blocks(self, blocks):
        first, last = [], []
        for block in blocks:
            block.ref_cnt -= 1
            if block.ref_cnt == 0:
                (last if block._block_hash is not None else first).append(block)
        self.free_block_queue.prepend_n(first)
        self.free_block_queue.append_n(last)
        for n in (len(first), len(last)):
            if n:
                self.truth.kv("free", n)
