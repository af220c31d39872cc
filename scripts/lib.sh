# shellcheck shell=bash
# What setup, demo and test share: a virtual environment with ROS 2, and our interfaces built.
# Sourced, never run. Every step leaves a stamp when it is complete, and is repeated without one.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.venv
made=$venv/.made # in environments that we made: for which ROS 2 and checkout, once it is whole
profile=$root/config/fastdds_big_shm.xml # a shared-memory segment that holds whole images

say() { printf '%s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }

# prepare run|test: makes ready what is missing, then enters the environment.
prepare() {
  cd "$root" || exit 1
  exec 9<"$root/scripts" && flock 9 # one set-up at a time
  choose_ros
  make_venv
  enter_venv
  install_requirements run
  [[ $1 == run ]] || install_requirements "$1"
  build_interfaces
  exec 9<&-
  # shellcheck disable=SC1091
  set +u && . install/local_setup.bash && set -u
  export FASTRTPS_DEFAULT_PROFILES_FILE=${FASTRTPS_DEFAULT_PROFILES_FILE:-$profile}
}

# ROS 2 from a sourced installation, or from wheels.
choose_ros() {
  if [[ -n ${_ROS_WHEELS_BOOTSTRAP_COMPLETE:-} ]]; then
    # Left by a Python with ROS wheels that called us; ours would skip its own start-up.
    unset _ROS_WHEELS_BOOTSTRAP_COMPLETE LD_LIBRARY_PATH
  fi
  if [[ -n ${ROS_DISTRO:-} && -n ${AMENT_PREFIX_PATH:-} ]]; then
    ros=$ROS_DISTRO
  else
    ros=wheels
    unset PYTHONPATH
    [[ $(uname -sm) == "Linux x86_64" || -x $venv/bin/python ]] ||
      die "no ROS 2 is sourced, and its wheels are for Linux on x86_64, not for $(uname -sm)." \
        "Install ROS 2 and source its setup.bash."
  fi
}

make_venv() {
  local python=${PYTHON:-python3} system=()
  if [[ -e $made && $(cat "$made") != "$ros $root" ]]; then
    say "The last set-up was interrupted, or made for another ROS 2 or place: making .venv anew."
    rm -rf "$venv" build install
  fi
  [[ ! -x $venv/bin/python ]] || return 0
  command -v "$python" >/dev/null || die "no $python: apt install python3 python3-venv"
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
    die "$("$python" --version) is too old: Python 3.10 or newer is needed." \
      "PYTHON=python3.11 $0 chooses one."
  "$python" -c 'import ensurepip, venv' 2>/dev/null ||
    die "$("$python" --version) cannot make virtual environments: apt install python3-venv"
  [[ $ros == wheels ]] || "$python" -c 'import cv2, numpy, rclpy' ||
    die "ROS 2 $ros is there, but not all that we need of it: rosdep install --from-paths ."
  need_compiler
  say "Making .venv ($("$python" --version), ROS 2: $ros) ..."
  mkdir -p "$venv" && echo unfinished >"$made"
  [[ $ros == wheels ]] || system=(--system-site-packages)
  "$python" -m venv "${system[@]}" "$venv" || die "$python -m venv failed, see above."
  touch "$venv/COLCON_IGNORE"
}

enter_venv() {
  export VIRTUAL_ENV=$venv PATH=$venv/bin:$PATH
  [[ $ros != wheels ]] || export AMENT_PREFIX_PATH=$venv CMAKE_PREFIX_PATH=$venv
}

# install_requirements run|test: the pinned packages, and with run ROS where it is missing.
install_requirements() {
  local files=("scripts/requirements-$1.txt") stamp=$venv/.stamp-$1 wanted failed=
  if [[ $1 == run && $ros == wheels ]]; then
    files+=(scripts/ros/requirements.txt scripts/ros/patch_cmake.py)
  fi
  wanted=$(fingerprint "${files[@]}")
  [[ $(cat "$stamp" 2>/dev/null) != "$wanted" ]] || return 0
  say "Installing Python packages ($1); the first time this takes a minute ..."
  [[ ! -e $made ]] || echo unfinished >"$made"
  pip_install "${files[@]}" || failed=1
  [[ ! -e $made ]] || echo "$ros $root" >"$made" # pip leaves halves only when it is killed
  [[ -z $failed ]] || die "pip could not install the packages: is there a network?"
  if [[ $1 == run && $ros == wheels ]]; then
    python scripts/ros/patch_cmake.py
  fi
  printf '%s\n' "$wanted" >"$stamp"
}

pip_install() {
  local file arguments=()
  for file in "$@"; do
    [[ $file != *.txt ]] || arguments+=(-r "$file")
  done
  # A sourced ROS 2 has its own NumPy and OpenCV, which its compiled modules fit.
  if [[ $ros != wheels ]]; then
    sed -E '/^(numpy|opencv-python-headless)==/d' "$1" >"$venv/requirements.txt"
    arguments=(-r "$venv/requirements.txt")
    command -v colcon >/dev/null || arguments+=(colcon-common-extensions)
  fi
  python -m pip install -qq --disable-pip-version-check "${arguments[@]}"
}

# Interfaces and launch files into install/; Python files are links into the checkout.
build_interfaces() {
  local wanted packages=(.)
  wanted=$(
    fingerprint package.xml CMakeLists.txt msg/* srv/* action/* scripts/ros/tf2_msgs/{*.*,msg/*}
    find molmo_ros engine model training sim cli launch config rviz assets -type f \
      -not -path '*/__pycache__/*' | LC_ALL=C sort
    echo "$ros"
  )
  [[ $(cat install/.stamp 2>/dev/null) != "$wanted" ]] || return 0
  need_compiler
  say "Building the ROS interfaces ..."
  rm -rf install # so that no link to a file that is gone stays behind
  mkdir -p log
  # Every installation of ROS 2 has tf2_msgs; its wheels do not.
  python -c 'import tf2_msgs' 2>/dev/null || packages+=(scripts/ros/tf2_msgs)
  # Of itself colcon lets make wait while the machine is busy.
  MAKEFLAGS=-j$(nproc) \
    colcon --log-base log build --symlink-install --base-paths "${packages[@]}" \
      >log/build.txt 2>&1 || {
    tail -n 40 log/build.txt >&2
    die "colcon build failed: see above, and log/build.txt for all of it."
  }
  printf '%s\n' "$wanted" >install/.stamp
}

need_compiler() {
  command -v c++ >/dev/null || command -v "${CXX:-g++}" >/dev/null ||
    die "no C++ compiler: apt install g++ (the ROS interfaces are compiled once)."
}

fingerprint() { cat "$@" | sha256sum | cut -d' ' -f1; }
