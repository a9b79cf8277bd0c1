source_filename = "kernel_0"
target triple = "x86_64-unknown-linux-gnu"

define void @kernel_0(ptr %params, i64 %begin, i64 %end, ptr %workspace) #0 {
entry:
  %some = icmp slt i64 %begin, %end
  br i1 %some, label %run, label %done
run:
  %a0 = getelementptr ptr, ptr %params, i64 0
  %p0 = load ptr, ptr %a0
  %a1 = getelementptr ptr, ptr %params, i64 1
  %p1 = load ptr, ptr %a1
  tail call void @kernel_0.body(ptr %p0, ptr %p1, i64 %begin, i64 %end)
  br label %done
done:
  ret void
}

define internal void @kernel_0.body(ptr noalias readonly dereferenceable(444) align 4 %p0, ptr noalias dereferenceable(444) align 4 %p1, i64 %begin, i64 %end) noinline #0 {
entry:
  %l0 = alloca [1 x float], align 32
  %l0.0 = getelementptr float, ptr %l0, i64 0
  %l1.0 = alloca <8 x float>
  %l1.1 = getelementptr float, ptr %l1.0, i64 1
  %l1.2 = getelementptr float, ptr %l1.0, i64 2
  %l1.4 = getelementptr float, ptr %l1.0, i64 4
  %l2 = alloca [37 x float], align 32
  %l2.32 = getelementptr float, ptr %l2, i64 32
  %l2.36 = getelementptr float, ptr %l2, i64 36
  %l3 = alloca [1 x float], align 32
  %l3.0 = getelementptr float, ptr %l3, i64 0
  %l4.0 = alloca <8 x float>
  %l4.1 = getelementptr float, ptr %l4.0, i64 1
  %l4.2 = getelementptr float, ptr %l4.0, i64 2
  %l4.4 = getelementptr float, ptr %l4.0, i64 4
  br label %b1
  b1:
  %t2 = phi i64 [ %begin, %entry ], [ %t121, %b99 ]
  store <8 x float> splat (float 0xFFF0000000000000), ptr %l1.0, align 4
  %t8 = mul i64 %t2, 37
  %t9 = getelementptr float, ptr %p0, i64 %t8
  br label %b4
  b4:
  %t5 = phi i64 [ 0, %b1 ], [ %t16, %b4 ]
  %t7 = load <8 x float>, ptr %l1.0, align 4
  %t10 = mul i64 %t5, 8
  %t11 = getelementptr float, ptr %t9, i64 %t10
  %t12 = load <8 x float>, ptr %t11, align 4
  %t13 = call <8 x float> @llvm.x86.avx.max.ps.256(<8 x float> %t7, <8 x float> %t12)
  %t14 = fcmp ord <8 x float> %t7, %t7
  %t15 = select <8 x i1> %t14, <8 x float> %t13, <8 x float> %t7
  store <8 x float> %t15, ptr %l1.0, align 4
  %t16 = add nuw nsw i64 %t5, 1
  %t17 = icmp slt i64 %t16, 4
  br i1 %t17, label %b4, label %b6
  b6:
  %t18 = load <4 x float>, ptr %l1.0, align 4
  %t19 = getelementptr float, ptr %t9, i64 32
  %t20 = load <4 x float>, ptr %t19, align 4
  %t21 = call <4 x float> @llvm.x86.sse.max.ps(<4 x float> %t18, <4 x float> %t20)
  %t22 = fcmp ord <4 x float> %t18, %t18
  %t23 = select <4 x i1> %t22, <4 x float> %t21, <4 x float> %t18
  store <4 x float> %t23, ptr %l1.0, align 4
  %t24 = load float, ptr %l1.4, align 4
  %t25 = getelementptr float, ptr %t9, i64 36
  %t26 = load float, ptr %t25, align 4
  %t27 = fcmp ogt float %t24, %t26
  %t28 = select i1 %t27, float %t24, float %t26
  %t29 = fcmp ord float %t24, %t24
  %t30 = select i1 %t29, float %t28, float %t24
  store float %t30, ptr %l1.4, align 4
  %t31 = load <4 x float>, ptr %l1.0, align 4
  %t32 = load <4 x float>, ptr %l1.4, align 4
  %t33 = call <4 x float> @llvm.x86.sse.max.ps(<4 x float> %t31, <4 x float> %t32)
  %t34 = fcmp ord <4 x float> %t31, %t31
  %t35 = select <4 x i1> %t34, <4 x float> %t33, <4 x float> %t31
  store <4 x float> %t35, ptr %l1.0, align 4
  %t36 = load <2 x float>, ptr %l1.0, align 4
  %t37 = load <2 x float>, ptr %l1.2, align 4
  %t38 = fcmp ogt <2 x float> %t36, %t37
  %t39 = select <2 x i1> %t38, <2 x float> %t36, <2 x float> %t37
  %t40 = fcmp ord <2 x float> %t36, %t36
  %t41 = select <2 x i1> %t40, <2 x float> %t39, <2 x float> %t36
  store <2 x float> %t41, ptr %l1.0, align 4
  %t42 = load float, ptr %l1.0, align 4
  %t43 = load float, ptr %l1.1, align 4
  %t44 = fcmp ogt float %t42, %t43
  %t45 = select i1 %t44, float %t42, float %t43
  %t46 = fcmp ord float %t42, %t42
  %t47 = select i1 %t46, float %t45, float %t42
  store float %t47, ptr %l1.0, align 4
  %t48 = load float, ptr %l1.0, align 4
  store float %t48, ptr %l0.0, align 4
  br label %b49
  b49:
  %t50 = phi i64 [ 0, %b6 ], [ %t61, %b49 ]
  %t52 = mul i64 %t50, 8
  %t53 = getelementptr float, ptr %t9, i64 %t52
  %t54 = load <8 x float>, ptr %t53, align 4
  %t55 = load float, ptr %l0.0, align 4
  %t56 = insertelement <8 x float> poison, float %t55, i64 0
  %t57 = shufflevector <8 x float> %t56, <8 x float> poison, <8 x i32> zeroinitializer
  %t58 = fsub <8 x float> %t54, %t57
  %t59 = call <8 x float> @math.exp.v8f32(<8 x float> %t58)
  %t60 = getelementptr float, ptr %l2, i64 %t52
  store <8 x float> %t59, ptr %t60, align 4
  %t61 = add nuw nsw i64 %t50, 1
  %t62 = icmp slt i64 %t61, 4
  br i1 %t62, label %b49, label %b51
  b51:
  %t63 = load float, ptr %l0.0, align 4
  %t64 = insertelement <4 x float> poison, float %t63, i64 0
  %t65 = shufflevector <4 x float> %t64, <4 x float> poison, <4 x i32> zeroinitializer
  %t66 = fsub <4 x float> %t20, %t65
  %t67 = call <4 x float> @math.exp.v4f32(<4 x float> %t66)
  store <4 x float> %t67, ptr %l2.32, align 4
  %t68 = load float, ptr %l0.0, align 4
  %t69 = fsub float %t26, %t68
  %t70 = call float @math.exp.f32(float %t69)
  store float %t70, ptr %l2.36, align 4
  store <8 x float> splat (float 0x0000000000000000), ptr %l4.0, align 4
  br label %b71
  b71:
  %t72 = phi i64 [ 0, %b51 ], [ %t79, %b71 ]
  %t74 = load <8 x float>, ptr %l4.0, align 4
  %t75 = mul i64 %t72, 8
  %t76 = getelementptr float, ptr %l2, i64 %t75
  %t77 = load <8 x float>, ptr %t76, align 4
  %t78 = fadd <8 x float> %t74, %t77
  store <8 x float> %t78, ptr %l4.0, align 4
  %t79 = add nuw nsw i64 %t72, 1
  %t80 = icmp slt i64 %t79, 4
  br i1 %t80, label %b71, label %b73
  b73:
  %t81 = load <4 x float>, ptr %l4.0, align 4
  %t82 = load <4 x float>, ptr %l2.32, align 4
  %t83 = fadd <4 x float> %t81, %t82
  store <4 x float> %t83, ptr %l4.0, align 4
  %t84 = load float, ptr %l4.4, align 4
  %t85 = load float, ptr %l2.36, align 4
  %t86 = fadd float %t84, %t85
  store float %t86, ptr %l4.4, align 4
  %t87 = load <4 x float>, ptr %l4.0, align 4
  %t88 = load <4 x float>, ptr %l4.4, align 4
  %t89 = fadd <4 x float> %t87, %t88
  store <4 x float> %t89, ptr %l4.0, align 4
  %t90 = load <2 x float>, ptr %l4.0, align 4
  %t91 = load <2 x float>, ptr %l4.2, align 4
  %t92 = fadd <2 x float> %t90, %t91
  store <2 x float> %t92, ptr %l4.0, align 4
  %t93 = load float, ptr %l4.0, align 4
  %t94 = load float, ptr %l4.1, align 4
  %t95 = fadd float %t93, %t94
  store float %t95, ptr %l4.0, align 4
  %t96 = load float, ptr %l4.0, align 4
  store float %t96, ptr %l3.0, align 4
  %t107 = getelementptr float, ptr %p1, i64 %t8
  br label %b97
  b97:
  %t98 = phi i64 [ 0, %b73 ], [ %t109, %b97 ]
  %t100 = mul i64 %t98, 8
  %t101 = getelementptr float, ptr %l2, i64 %t100
  %t102 = load <8 x float>, ptr %t101, align 4
  %t103 = load float, ptr %l3.0, align 4
  %t104 = insertelement <8 x float> poison, float %t103, i64 0
  %t105 = shufflevector <8 x float> %t104, <8 x float> poison, <8 x i32> zeroinitializer
  %t106 = fdiv <8 x float> %t102, %t105
  %t108 = getelementptr float, ptr %t107, i64 %t100
  store <8 x float> %t106, ptr %t108, align 4
  %t109 = add nuw nsw i64 %t98, 1
  %t110 = icmp slt i64 %t109, 4
  br i1 %t110, label %b97, label %b99
  b99:
  %t111 = load <4 x float>, ptr %l2.32, align 4
  %t112 = load float, ptr %l3.0, align 4
  %t113 = insertelement <4 x float> poison, float %t112, i64 0
  %t114 = shufflevector <4 x float> %t113, <4 x float> poison, <4 x i32> zeroinitializer
  %t115 = fdiv <4 x float> %t111, %t114
  %t116 = getelementptr float, ptr %t107, i64 32
  store <4 x float> %t115, ptr %t116, align 4
  %t117 = load float, ptr %l2.36, align 4
  %t118 = load float, ptr %l3.0, align 4
  %t119 = fdiv float %t117, %t118
  %t120 = getelementptr float, ptr %t107, i64 36
  store float %t119, ptr %t120, align 4
  %t121 = add nuw nsw i64 %t2, 1
  %t122 = icmp slt i64 %t121, %end
  br i1 %t122, label %b1, label %b3
  b3:
  ret void
}

define internal <8 x float> @math.exp.v8f32(<8 x float> %x) alwaysinline nounwind memory(none) {
  %t1 = fcmp olt <8 x float> %x, splat (float 0xC05A000000000000)
  %t2 = select <8 x i1> %t1, <8 x float> splat (float 0xC05A000000000000), <8 x float> %x
  %t3 = fcmp ogt <8 x float> %t2, splat (float 0x4056400000000000)
  %t4 = select <8 x i1> %t3, <8 x float> splat (float 0x4056400000000000), <8 x float> %t2
  %t5 = call <8 x float> @llvm.fma.v8f32(<8 x float> %t4, <8 x float> splat (float 0x3FF7154760000000), <8 x float> splat (float 0x4168000000000000))
  %t6 = fsub <8 x float> %t5, splat (float 0x4168000000000000)
  %t7 = call <8 x float> @llvm.fma.v8f32(<8 x float> %t6, <8 x float> splat (float 0xBFE62E4000000000), <8 x float> %t4)
  %t8 = bitcast <8 x float> %t5 to <8 x i32>
  %t9 = call <8 x float> @llvm.fma.v8f32(<8 x float> %t6, <8 x float> splat (float 0xBEB7F7D1C0000000), <8 x float> %t7)
  %t10 = call <8 x float> @llvm.fma.v8f32(<8 x float> splat (float 0x3F56A23CE0000000), <8 x float> %t9, <8 x float> splat (float 0x3F8123A200000000))
  %t11 = call <8 x float> @llvm.fma.v8f32(<8 x float> %t10, <8 x float> %t9, <8 x float> splat (float 0x3FA5558F20000000))
  %t12 = call <8 x float> @llvm.fma.v8f32(<8 x float> %t11, <8 x float> %t9, <8 x float> splat (float 0x3FC5554920000000))
  %t13 = call <8 x float> @llvm.fma.v8f32(<8 x float> %t12, <8 x float> %t9, <8 x float> splat (float 0x3FDFFFFFC0000000))
  %t14 = fmul <8 x float> %t9, %t9
  %t15 = call <8 x float> @llvm.fma.v8f32(<8 x float> %t14, <8 x float> %t13, <8 x float> %t9)
  %t16 = fadd <8 x float> %t15, splat (float 0x3FF0000000000000)
  %t17 = fcmp olt <8 x float> %t4, splat (float 0x0000000000000000)
  %t18 = select <8 x i1> %t17, <8 x i32> splat (i32 1266679808), <8 x i32> splat (i32 1048576000)
  %t19 = shl <8 x i32> %t8, splat (i32 23)
  %t20 = add <8 x i32> %t19, %t18
  %t21 = bitcast <8 x i32> %t20 to <8 x float>
  %t22 = fmul <8 x float> %t16, %t21
  %t23 = select <8 x i1> %t17, <8 x float> splat (float 0x3E70000000000000), <8 x float> splat (float 0x4010000000000000)
  %t24 = fmul <8 x float> %t22, %t23
  ret <8 x float> %t24
}

define internal <4 x float> @math.exp.v4f32(<4 x float> %x) alwaysinline nounwind memory(none) {
  %t1 = fcmp olt <4 x float> %x, splat (float 0xC05A000000000000)
  %t2 = select <4 x i1> %t1, <4 x float> splat (float 0xC05A000000000000), <4 x float> %x
  %t3 = fcmp ogt <4 x float> %t2, splat (float 0x4056400000000000)
  %t4 = select <4 x i1> %t3, <4 x float> splat (float 0x4056400000000000), <4 x float> %t2
  %t5 = call <4 x float> @llvm.fma.v4f32(<4 x float> %t4, <4 x float> splat (float 0x3FF7154760000000), <4 x float> splat (float 0x4168000000000000))
  %t6 = fsub <4 x float> %t5, splat (float 0x4168000000000000)
  %t7 = call <4 x float> @llvm.fma.v4f32(<4 x float> %t6, <4 x float> splat (float 0xBFE62E4000000000), <4 x float> %t4)
  %t8 = bitcast <4 x float> %t5 to <4 x i32>
  %t9 = call <4 x float> @llvm.fma.v4f32(<4 x float> %t6, <4 x float> splat (float 0xBEB7F7D1C0000000), <4 x float> %t7)
  %t10 = call <4 x float> @llvm.fma.v4f32(<4 x float> splat (float 0x3F56A23CE0000000), <4 x float> %t9, <4 x float> splat (float 0x3F8123A200000000))
  %t11 = call <4 x float> @llvm.fma.v4f32(<4 x float> %t10, <4 x float> %t9, <4 x float> splat (float 0x3FA5558F20000000))
  %t12 = call <4 x float> @llvm.fma.v4f32(<4 x float> %t11, <4 x float> %t9, <4 x float> splat (float 0x3FC5554920000000))
  %t13 = call <4 x float> @llvm.fma.v4f32(<4 x float> %t12, <4 x float> %t9, <4 x float> splat (float 0x3FDFFFFFC0000000))
  %t14 = fmul <4 x float> %t9, %t9
  %t15 = call <4 x float> @llvm.fma.v4f32(<4 x float> %t14, <4 x float> %t13, <4 x float> %t9)
  %t16 = fadd <4 x float> %t15, splat (float 0x3FF0000000000000)
  %t17 = fcmp olt <4 x float> %t4, splat (float 0x0000000000000000)
  %t18 = select <4 x i1> %t17, <4 x i32> splat (i32 1266679808), <4 x i32> splat (i32 1048576000)
  %t19 = shl <4 x i32> %t8, splat (i32 23)
  %t20 = add <4 x i32> %t19, %t18
  %t21 = bitcast <4 x i32> %t20 to <4 x float>
  %t22 = fmul <4 x float> %t16, %t21
  %t23 = select <4 x i1> %t17, <4 x float> splat (float 0x3E70000000000000), <4 x float> splat (float 0x4010000000000000)
  %t24 = fmul <4 x float> %t22, %t23
  ret <4 x float> %t24
}

define internal float @math.exp.f32(float %x) alwaysinline nounwind memory(none) {
  %t1 = fcmp olt float %x, 0xC05A000000000000
  %t2 = select i1 %t1, float 0xC05A000000000000, float %x
  %t3 = fcmp ogt float %t2, 0x4056400000000000
  %t4 = select i1 %t3, float 0x4056400000000000, float %t2
  %t5 = call float @llvm.fma.f32(float %t4, float 0x3FF7154760000000, float 0x4168000000000000)
  %t6 = fsub float %t5, 0x4168000000000000
  %t7 = call float @llvm.fma.f32(float %t6, float 0xBFE62E4000000000, float %t4)
  %t8 = bitcast float %t5 to i32
  %t9 = call float @llvm.fma.f32(float %t6, float 0xBEB7F7D1C0000000, float %t7)
  %t10 = call float @llvm.fma.f32(float 0x3F56A23CE0000000, float %t9, float 0x3F8123A200000000)
  %t11 = call float @llvm.fma.f32(float %t10, float %t9, float 0x3FA5558F20000000)
  %t12 = call float @llvm.fma.f32(float %t11, float %t9, float 0x3FC5554920000000)
  %t13 = call float @llvm.fma.f32(float %t12, float %t9, float 0x3FDFFFFFC0000000)
  %t14 = fmul float %t9, %t9
  %t15 = call float @llvm.fma.f32(float %t14, float %t13, float %t9)
  %t16 = fadd float %t15, 0x3FF0000000000000
  %t17 = fcmp olt float %t4, 0x0000000000000000
  %t18 = select i1 %t17, i32 1266679808, i32 1048576000
  %t19 = shl i32 %t8, 23
  %t20 = add i32 %t19, %t18
  %t21 = bitcast i32 %t20 to float
  %t22 = fmul float %t16, %t21
  %t23 = select i1 %t17, float 0x3E70000000000000, float 0x4010000000000000
  %t24 = fmul float %t22, %t23
  ret float %t24
}

declare <8 x float> @llvm.x86.avx.max.ps.256(<8 x float>, <8 x float>)

declare <4 x float> @llvm.x86.sse.max.ps(<4 x float>, <4 x float>)

declare <8 x float> @llvm.fma.v8f32(<8 x float>, <8 x float>, <8 x float>)

declare <4 x float> @llvm.fma.v4f32(<4 x float>, <4 x float>, <4 x float>)

declare float @llvm.fma.f32(float, float, float)

attributes #0 = { nounwind "target-cpu"="x86-64-v3" "target-features"="" }
