"""A real browser for the tests of pages: headless Chromium, installed where it can be, driven by Selenium."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--force-device-scale-factor=1",
)
DESKTOP, PHONE = (1280, 900), (390, 844)


@functools.cache
def missing():
    """Why there is no browser here, or None; installs Debian's where that is allowed."""
    if shutil.which("chromium") and shutil.which("chromedriver"):
        return None
    if not shutil.which("apt-get") or os.geteuid() != 0:
        return "no Chromium here, and only root with apt-get can install it: apt-get install chromium chromium-driver"
    quiet = {"env": os.environ | {"DEBIAN_FRONTEND": "noninteractive"}, "capture_output": True, "text": True}
    for command in (["update"], ["install", "-y", "--no-install-recommends", "chromium", "chromium-driver"]):
        try:
            done = subprocess.run(["apt-get", "-o", "DPkg::Lock::Timeout=300", *command], timeout=900, **quiet)
        except subprocess.TimeoutExpired:
            return f"apt-get {command[0]} did not finish in 15 minutes"
    if done.returncode or not (shutil.which("chromium") and shutil.which("chromedriver")):
        return f"Chromium could not be installed: {done.stderr.strip()[-300:]}"
    return None


@contextmanager
def browser(size=DESKTOP, *, dark=False, reduced_motion=True):
    """A Selenium driver with an empty profile, `size` CSS pixels wide and high (narrower than a window can be, too)."""
    from selenium import webdriver

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium")
        for flag in (*FLAGS, f"--user-data-dir={profile}", f"--window-size={max(size[0], 600)},{size[1]}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        service = webdriver.ChromeService(executable_path=shutil.which("chromedriver"))
        driver = webdriver.Chrome(options=options, service=service)
        try:
            resize(driver, size)
            colours(driver, dark=dark, reduced_motion=reduced_motion)
            yield driver
        finally:
            driver.quit()


def resize(driver, size):
    """Lay the page out as on a screen of `size` CSS pixels."""
    metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size[0] < 600}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def colours(driver, *, dark, reduced_motion=True):
    """Change the reader's colour scheme and wish for motion while the page is open."""
    features = [
        {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
        {"name": "prefers-reduced-motion", "value": "reduce" if reduced_motion else "no-preference"},
    ]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def complaints(driver):
    """What the console said of errors and refused content since it was last asked."""
    return [entry["message"] for entry in driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]


def wait(driver, script, seconds=20):
    """Until `script` (an expression of JavaScript) is true; returns its value."""
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(driver, seconds, poll_frequency=0.05).until(lambda d: d.execute_script(f"return {script}"))


def screenshot(driver, path: Path, *, whole=False):
    """A PNG of what is seen, or of the whole page."""
    import base64

    options = {"captureBeyondViewport": whole, "format": "png"}
    if whole:
        size = driver.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
        options["clip"] = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], 12000), "scale": 1}
    path.write_bytes(base64.b64decode(driver.execute_cdp_cmd("Page.captureScreenshot", options)["data"]))


def sideways(driver):
    """How many pixels the page is wider than the screen: 0 where it does not scroll sideways."""
    return driver.execute_script("return document.documentElement.scrollWidth - document.documentElement.clientWidth")


def planted(driver):
    """What a hostile text managed to do: the values that the corpus of `_xss` would have set."""
    return json.loads(driver.execute_script("return JSON.stringify(window.__xss ?? [])"))
