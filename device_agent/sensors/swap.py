"""Where memory is swapped to, from /proc/swaps."""

import re
from typing import Any, Dict, List

# Filename Type Size Used Priority, sizes in KiB; a blank in a name is written \040.
_LINE = re.compile(r"^(/\S{1,190})\s+\S+\s+(\d{1,15})\s+(\d{1,15})\s+-?\d+\s*$", re.MULTILINE)


def parse_swaps(text: str) -> List[Dict[str, Any]]:
    """`name`, `size_mb`, `used_mb` and `is_zram` (memory that the processor compresses) of each."""
    return [
        {
            "name": name,
            "size_mb": round(int(size) / 1024.0),
            "used_mb": round(int(used) / 1024.0, 1),
            "is_zram": name.startswith("/dev/zram"),
        }
        for name, size, used in _LINE.findall(text)
    ]
