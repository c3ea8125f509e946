import functools


def context_decorator(func):
    @functools.wraps(func)
    def decorate_context(*args, **kwargs):
        return func(*args, **kwargs)

    return decorate_context
