"Where tests of pages find a browser."

import shutil
import pytest

try: from playwright import sync_api as playwright
except ImportError: playwright = None
chromium = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome',
                                                'google-chrome-stable'))), None)
in_a_browser = pytest.mark.skipif(not (playwright and chromium),
                                  reason='needs playwright and a browser (chromium)')
