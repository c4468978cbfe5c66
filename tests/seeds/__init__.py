"""Many seeds of a simulated bad network, in virtual time."""

import pytest

pytest.register_assert_rewrite(f"{__name__}.on_asyncio", f"{__name__}.on_cores")
