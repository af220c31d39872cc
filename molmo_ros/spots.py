"""A point and its neighbourhood: is it still there, and does it look the same?

The neighbourhood is compared with a template of its own, cut out where the point was last known
well; brightness may change, shape and colour may not. Says lost rather than guess: plain
surfaces, occlusion, the picture's border. Knows nothing of other points.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from molmo_ros.alignment import SIMILARITY, Grey, Template, project
from molmo_ros.glimpses import Glimpse, main_colour, mixed

Array = npt.NDArray[np.float64]
Rgb = npt.NDArray[np.uint8]

# All lengths are pixels of a glimpse, about 1/320 of the picture's width.
GRID = 20  # samples from the middle of a patch to its side
MARGIN = 10  # samples around it, in which it is looked for
HALF = GRID + MARGIN
REACHES = (20, 32, 50)  # half the side of a patch: the smallest that has something to hold on to
PIXELS = 300  # of a patch that are aligned
HOLD = 1000.0  # a patch with less in it would slide along an edge, or swim in noise

ALIKE = 0.7  # correlation with the template, below which a point is lost
SURE = 0.95  # and from which it is certain
FOUND_AGAIN = 0.85  # for a point that was lost
RENEW = 0.95  # below, the neighbourhood becomes the template, while it is
STILL_WELL = 0.88  # above
OTHER_VIEW = 0.04  # radians, and part of the size: less explains no change of looks
RENEW_SCALE = 1.25  # likewise when it became so much larger or smaller
RENEWED = 0.9  # of the confidence is left then, if nothing but the neighbourhood tells the place
IN_VIEW = 0.5  # of a patch, at least
OTHER_GREY = 30.0  # grey levels by which the middle may differ before something else is there
RESTS = 2.0  # a resting point may seem off its place by so much, and by its reach for each radian
# that the view turned since the template: outlines slide along round things
IN_FRONT_M, IN_FRONT = 0.03, 0.04  # nearer by this and this part of the depth is something else
FORGET_S = 1.0  # a lost point of unknown motion is given up

_V, _U = np.mgrid[-HALF : HALF + 1, -HALF : HALF + 1]
FLAT = np.dstack([_U, _V, np.full_like(_U, GRID)]) / GRID  # a patch, seen at distance 1
PATCH_K = np.array([[GRID, 0, HALF], [0, GRID, HALF], [0, 0, 1.0]])
NEAR = np.exp(-(_U**2 + _V**2) / (2 * (0.6 * GRID) ** 2)).astype(np.float32)
NEAR[np.maximum(abs(_U), abs(_V)) > GRID] = 0
CORE = slice(MARGIN, -MARGIN)
MIDDLE = slice(GRID - 2, GRID + 3)


class Spot:
    """One point; pixels are those of glimpses, `place` maps its neighbourhood into the picture."""

    def __init__(self, first: Glimpse, pixel: Array) -> None:
        self.confidence = 0.0
        self._place = np.column_stack([np.eye(2), pixel])
        self._point_m = first.point_m(self.pixel)
        self._template: Template | None = None
        self._trust = 1.0
        self._seen_s = first.stamp_s
        if first.contains(self.pixel):
            self._learn(first)
            self.confidence = float(self._template is not None)

    @property
    def pixel(self) -> Array:
        pixel: Array = self._place[:, 2]
        return pixel

    def step(self, now: Glimpse, motion: Array | None) -> None:
        """Looks for the point in the next glimpse.

        motion: (4, 4) of resting surfaces since the last glimpse; None when it is not known
        """
        if self._template is None:
            return
        is_led = motion is not None and self._point_m is not None
        if is_led:
            self._follow(motion, now.k)
        was_lost, self.confidence = self.confidence == 0, 0.0
        if was_lost and not is_led:
            self._point_m = None  # nobody saw how it moved
        if was_lost and not is_led and now.stamp_s - self._seen_s > FORGET_S:
            self._template = None
        elif now.contains(self.pixel) and not self._is_hidden(now):
            self._look(now, is_led, was_lost)

    def _follow(self, motion: Array, k: Array) -> None:
        """Moves the place as a resting point moves."""
        before_m = self._point_m
        self._point_m = motion[:3, :3] @ before_m + motion[:3, 3]
        ray = before_m / np.linalg.norm(before_m)
        angle = float(cv2.Rodrigues(motion[:3, :3])[0].ravel() @ ray)
        scale = before_m[2] / max(self._point_m[2], 1e-3)
        self._turned = motion[:3, :3] @ self._turned
        linear = _turn(scale, angle) @ self._place[:, :2]
        pixel = project(self._point_m[None], np.eye(4), k)[0]
        self._place = np.column_stack([linear, pixel])

    def _look(self, now: Glimpse, is_led: bool, was_lost: bool) -> None:
        """Decides between the place where a resting point is and where its surroundings are."""
        found = self._find(now, is_near=is_led)
        if found is None:
            return
        leeway = RESTS + self._reach * self._turn_of_view()
        rests = float(np.hypot(*(found[:, 2] - self.pixel))) <= leeway
        if was_lost and not rests:
            return  # it may come back only where it should be
        if is_led and rests:
            found = self._place
        if not now.contains(found[:, 2]):
            return
        likeness = self._likeness(now, found)
        if likeness < (FOUND_AGAIN if was_lost else ALIKE):
            return
        self._place = found
        self._seen_s = now.stamp_s
        self.confidence = self._trust * min((likeness - 0.5) / (SURE - 0.5), 1.0)
        if not (is_led and rests):
            self._point_m = now.point_m(self.pixel)
            self._learned_m, self._turned = self._point_m, np.eye(3)
        if self._is_worn(likeness, is_led):
            self._trust *= 1.0 if is_led and rests else RENEWED
            self._learn(now)

    def _turn_of_view(self) -> float:
        """By how much the point is seen from elsewhere than in the template, radians."""
        if self._point_m is None or self._learned_m is None:
            return 0.0
        now_m, then_m = self._turned.T @ self._point_m, self._learned_m
        cosine = now_m @ then_m / np.linalg.norm(now_m) / np.linalg.norm(then_m)
        return float(np.arccos(np.clip(cosine, -1.0, 1.0)))

    def _find(self, now: Glimpse, is_near: bool) -> Array | None:
        """(2, 3) where the surroundings are that the template shows."""
        patch = self._patch(now, self._place)
        fit = self._template.find(patch, np.eye(4), is_near=is_near)
        if fit is None:
            return None
        corners = project(np.array([[0, 0, 1], [1, 0, 1.0]]), fit.motion, np.eye(3)) * self._reach
        (u, v), (du, dv) = corners[0], (corners[1] - corners[0]) / self._reach
        linear = self._place[:, :2]
        return np.column_stack([linear @ [[du, -dv], [dv, du]], linear @ [u, v] + self.pixel])

    def _likeness(self, now: Glimpse, place: Array) -> float:
        """The correlation with the template, -1..1; 0 where the point itself is covered."""
        patch = self._patch(now, place)[CORE, CORE]
        in_view = np.isfinite(patch)
        weights = NEAR[CORE, CORE] * in_view
        if weights.sum() < IN_VIEW * NEAR.sum():
            return 0.0
        patch = np.where(in_view, patch, 0)
        brighter = np.median((patch - self._picture)[in_view])
        if abs((patch - self._picture)[MIDDLE, MIDDLE].mean() - brighter) > OTHER_GREY:
            return 0.0
        return _correlation(patch, self._picture, weights)

    def _is_worn(self, likeness: float, is_led: bool) -> bool:
        """Whether the template should be cut out anew.

        Where the motion is known, only another view wears it; the rest is something in front.
        """
        scale = float(np.hypot(*self._place[:, 0]))
        grown = max(scale, 1 / scale)
        looks_other = likeness < RENEW and (
            not is_led or self._turn_of_view() + grown - 1 > OTHER_VIEW
        )
        return likeness > STILL_WELL and (looks_other or grown > RENEW_SCALE)

    def _is_hidden(self, now: Glimpse) -> bool:
        """Whether depth shows something nearer than the point."""
        seen_m = now.point_m(self.pixel)
        if seen_m is None or self._point_m is None:
            return False
        z = float(self._point_m[2])
        return float(seen_m[2]) < z - max(IN_FRONT_M, IN_FRONT * z)

    def _learn(self, now: Glimpse) -> None:
        """Cuts the template out of a glimpse, unless there is nothing to hold on to."""
        self._place = np.column_stack([np.eye(2), self.pixel])
        self._learned_m, self._turned = self._point_m, np.eye(3)
        for self._reach in REACHES:
            self._colour = main_colour(self._cut(now, self._place)[0])
            patch = self._patch(now, self._place)
            template = Template(
                patch, FLAT, PATCH_K, freedom=SIMILARITY, weights=NEAR, most=PIXELS
            )
            if template.hold > HOLD:
                self._template, self._picture = template, np.nan_to_num(patch[CORE, CORE])
                return

    def _patch(self, now: Glimpse, place: Array) -> Grey:
        """The neighbourhood at a place, in grey levels; NaN beyond the picture's border."""
        rgb, in_view = self._cut(now, place)
        patch = mixed(rgb, self._colour)
        if in_view is not None:
            patch[in_view < 255] = np.nan
        return patch

    def _cut(self, now: Glimpse, place: Array) -> tuple[Rgb, Rgb | None]:
        """The pixels of a neighbourhood, and 255 where these are in the picture (None: all)."""
        step = self._reach / GRID * place[:, :2]
        matrix = np.column_stack([step, place[:, 2] - step @ [HALF, HALF]])
        size = (2 * HALF + 1, 2 * HALF + 1)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        rgb = cv2.warpAffine(now.rgb, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
        half = np.abs(step) @ [HALF, HALF]
        if now.contains(place[:, 2] - half) and now.contains(place[:, 2] + half):
            return rgb, None
        whole = np.full(now.rgb.shape[:2], 255, np.uint8)
        return rgb, cv2.warpAffine(whole, matrix, size, flags=flags)


def _correlation(one: Grey, other: Grey, weights: Grey) -> float:
    """Of two patches, weighted; 1 when they differ in brightness and contrast only."""
    a = one - np.average(one, weights=weights)
    b = other - np.average(other, weights=weights)
    norm = float(np.sqrt((weights * a * a).sum() * (weights * b * b).sum()))
    return float((weights * a * b).sum()) / norm if norm > 0 else 0.0


def _turn(scale: float, angle: float) -> Array:
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[cos, -sin], [sin, cos]])
